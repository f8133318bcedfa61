"""The model card's figures, counted by hand."""

import pytest

from models.card import model_card
from tests.models.ranker_formulas import CONFIGS, SCHEMA


def test_a_dlrm_is_counted_part_by_part():
    # Dense arch 3-8-4: 3*8+8 + 8*4+4 = 68 values; 2*24 + 2*32 operations and 8 + 4 ReLUs. Dot interaction of four vectors, four
    # wide: 2*4*4*4. Over arch 10-6-1 (4 + 6 pairs): 73 values, 2*60 + 2*6 operations and 6 ReLUs.
    card = model_card(CONFIGS["dlrm-dot"], SCHEMA)
    counted = {part.name: (part.parameters, part.flops_per_sample, part.out_features) for part in card.parts}
    assert counted == {"dense_arch": (68, 124, 4), "interaction": (0, 128, 10), "over_arch": (73, 138, 1)}
    # Tables of 7 + 5 + 11 rows, four wide, float32; a sample reads one row of each.
    assert (card.table_parameters, card.embedding_bytes_per_sample) == (92, 48.0)
    assert (card.dense_parameters, card.flops_per_sample, card.num_bytes) == (141, 390, 4 * (92 + 141))
    assert card.interactions == "6 dot products of 4 vectors"
    assert "logit = over_arch(interaction(z, e_1 .. e_F))" in card.formula


def test_parts_are_joined_as_they_read_one_another():
    card = model_card(CONFIGS["xdeepfm"], SCHEMA)
    assert {part.name: part.inputs for part in card.parts if part.inputs} == {
        "fields": ("dense", "embeddings"),
        "cin": ("fields",),
        "cin_output": ("cin",),
        "over_arch": ("dense", "embeddings"),
        "linear": ("dense", "first-order terms"),
    }
    assert set(card.logit_inputs) == {"linear", "cin_output", "over_arch"}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_sum_of_the_parts_is_all_that_the_ranker_trains(name: str):
    from models.build import build_ranker

    card = model_card(CONFIGS[name], SCHEMA)
    ranker = build_ranker(CONFIGS[name], SCHEMA)
    assert card.table_parameters + card.dense_parameters == sum(weight.numel() for weight in ranker.parameters())
    assert card.interactions
    assert "logit = " in card.formula
