"""Every ranker as it serves: the same scores as the ranker, from programs too, at any number of rows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import ModelConfig
from models.loss_config import LossConfig
from models.registry import RANKERS
from models.served import ServedRanker, WeightedServedRanker
from models.table_config import TableOverride, TablesConfig
from pipeline.inference.programs import load_program, make_program

SCHEMA = Schema(
    dense=("I1", "I2", "I3"), sparse=tuple(SparseFeature(name=f"C{i}", num_embeddings=20 + i) for i in range(4))
)
LISTS = Schema(
    dense=("I1",),
    sparse=(
        SparseFeature(name="tags", num_embeddings=20, is_list=True, weighted=True),
        SparseFeature(name="shop", num_embeddings=30),
    ),
)
WIDTHS = {"embedding_dim": 8, "dense_arch": (8,), "over_arch": (8, 1)}


def config_of(ranker: str) -> ModelConfig:
    read = RANKERS[ranker].settings
    return ModelConfig(ranker=ranker, **{name: value for name, value in WIDTHS.items() if name in read})  # pyright: ignore[reportArgumentType]


def inputs(num_rows: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(num_rows)
    dense = torch.randn(num_rows, 3, generator=generator)
    values = torch.randint(0, 20, (4 * num_rows,), generator=generator, dtype=torch.int32)
    return dense, values, torch.ones(4 * num_rows, dtype=torch.int32)


def test_scores_are_the_corrected_probabilities_of_the_ranker():
    ranker = build_ranker(config_of("dlrm"), SCHEMA, device="cpu").eval()
    dense, values, lengths = inputs(6)
    loss = LossConfig(negatives_kept=0.1, loss_threshold=1e-3)
    found = ServedRanker(ranker, loss, SCHEMA.sparse_names)(dense, values, lengths)
    p = torch.sigmoid(ranker(dense, KeyedJaggedTensor(keys=list(SCHEMA.sparse_names), values=values, lengths=lengths)))
    torch.testing.assert_close(found, p / (p + (1 - p) / 0.1), rtol=1e-5, atol=1e-7)


BY_POSITION = TablesConfig(override={"tags": TableOverride(pooling="position", positions=2)})


@pytest.mark.parametrize("tables", [TablesConfig(), BY_POSITION])
def test_lists_with_weights_are_served_and_exported(tables: TablesConfig, tmp_path: Path):
    ranker = build_ranker(replace(config_of("dcnv2"), tables=tables), LISTS, device="cpu").eval()
    with torch.no_grad():
        for name, weight in ranker.named_parameters():
            if "position_weights" in name:
                weight.copy_(torch.tensor([0.5, -1.0]))
    served = WeightedServedRanker(ranker, LossConfig(), LISTS.sparse_names)
    # Rows: tags [1 2], [], [3], shops 7, 8, 9.
    flat = (
        torch.tensor([[0.1], [0.2], [0.3]]),
        torch.tensor([1, 2, 3, 7, 8, 9], dtype=torch.int32),
        torch.tensor([2, 0, 1, 1, 1, 1], dtype=torch.int32),
        torch.tensor([0.5, 2.0, 1.0, 1.0, 1.0, 1.0]),
    )
    sparse = KeyedJaggedTensor(keys=["tags", "shop"], values=flat[1], lengths=flat[2], weights=flat[3])
    expected = torch.sigmoid(ranker(flat[0], sparse))
    torch.testing.assert_close(served(*flat), expected)
    for kind in ("exported", "torchscript"):
        assert make_program(kind, served, flat, tmp_path / kind) is None
        torch.testing.assert_close(load_program(kind, tmp_path / kind)(*flat), expected)


@pytest.mark.parametrize(
    "ranker", [pytest.param(name, marks=() if name == "deepfm" else pytest.mark.full) for name in RANKERS]
)
def test_programs_of_a_ranker_score_like_it(ranker: str, tmp_path: Path):
    config = config_of(ranker)
    if ranker in ("matrix_factorisation", "neural_cf"):
        config = replace(config, user="C0", item="C1")
    model = build_ranker(config, SCHEMA, device="cpu").eval()
    served = ServedRanker(model, LossConfig(), SCHEMA.sparse_names)
    for kind in ("exported", "torchscript"):
        assert make_program(kind, served, inputs(4), tmp_path / kind) is None
        program = load_program(kind, tmp_path / kind)
        for num_rows in (2, 3, 50):
            torch.testing.assert_close(program(*inputs(num_rows)), served(*inputs(num_rows)), rtol=0, atol=1e-6)


def test_what_cannot_be_exported_is_said_and_leaves_no_file(tmp_path: Path):
    class Reads(ServedRanker):
        def forward(self, dense: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return super().forward(dense if dense.sum().item() > 0 else -dense, values, lengths)

    model = Reads(build_ranker(config_of("dlrm"), SCHEMA, device="cpu"), LossConfig(), SCHEMA.sparse_names)
    reason = make_program("exported", model, inputs(4), tmp_path / "model.pt2")
    assert reason is not None
    assert "data-dependent" in reason
    assert list(tmp_path.iterdir()) == []
