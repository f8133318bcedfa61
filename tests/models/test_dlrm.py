"""The whole ranker against plain PyTorch, its initialisation against the reference's formulas."""

import math

import pytest
import torch
from torch import nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import ModelConfig
from models.dense_scaling import DenseScale
from models.mlp import initialised_linear

SCHEMA = Schema(
    dense=("i1", "i2", "i3"),
    sparse=tuple(SparseFeature(name=name, num_embeddings=rows) for name, rows in (("a", 7), ("b", 5), ("c", 11))),
)


def _multi_hot_batch() -> tuple[torch.Tensor, KeyedJaggedTensor]:
    # feature x row:   row 0   row 1   row 2
    #   a              1,2     -       6
    #   b              0       3,3     4
    #   c              -       10      1,2,3
    values = torch.tensor([1, 2, 6, 0, 3, 3, 4, 10, 1, 2, 3], dtype=torch.int32)
    lengths = torch.tensor([2, 0, 1, 1, 2, 1, 0, 1, 3], dtype=torch.int32)
    kjt = KeyedJaggedTensor(keys=["a", "b", "c"], values=values, lengths=lengths)
    return torch.tensor([[0.1, 2.0, 0.0], [1.0, 0.5, 3.0], [0.0, 0.0, 1.0]]), kjt


def _pooled(weight: torch.Tensor, bags: list[list[int]]) -> torch.Tensor:
    return torch.stack([weight[bag].sum(0) if bag else torch.zeros(weight.shape[1]) for bag in bags])


@pytest.mark.parametrize("interaction", ["dot", "low_rank_cross"])
def test_forward_equals_plain_pytorch_written_from_the_paper(interaction: str):
    config = ModelConfig(
        interaction=interaction, embedding_dim=4, dense_arch=(8, 4), over_arch=(6, 1), cross_layers=2, cross_rank=3
    )
    ranker = build_ranker(config, SCHEMA, device="cpu", seed=3)
    dense, sparse = _multi_hot_batch()
    state = ranker.state_dict()
    bags = {"a": [[1, 2], [], [6]], "b": [[0], [3, 3], [4]], "c": [[], [10], [1, 2, 3]]}
    vectors = [_pooled(state[f"ebc.embedding_bags.{name}.weight"], bags[name]) for name in "abc"]
    x = _linear(state, "dense_arch.0", dense).relu()
    x = _linear(state, "dense_arch.2", x).relu()
    if interaction == "dot":
        every = [x, *vectors]
        pairs = [(every[i] * every[j]).sum(1) for i in range(4) for j in range(i)]
        met = torch.cat([x, torch.stack(pairs, dim=1)], dim=1)
    else:
        first = met = torch.cat([x, *vectors], dim=1)
        for layer in range(2):
            down, up = state[f"interaction.down.{layer}"], state[f"interaction.up.{layer}"]
            met = first * (met @ down.T @ up.T + state[f"interaction.bias.{layer}"]) + met
    expected = _linear(state, "over_arch.2", _linear(state, "over_arch.0", met).relu()).squeeze(1)
    torch.testing.assert_close(ranker(dense, sparse), expected, rtol=1e-5, atol=1e-6)


def _linear(state: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def test_linear_layers_start_with_the_references_variances():
    # 400 x 600 weights: the sample deviation lies within 1 % of the formula's (0.15 % standard error), 400 biases within 15 %.
    linear = initialised_linear(600, 400, torch.Generator().manual_seed(0))
    assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 1000), rel=0.01)
    assert linear.bias.std().item() == pytest.approx(math.sqrt(1 / 400), rel=0.15)


def test_same_seed_same_dense_weights_and_other_seed_others():
    first, again, other = (build_ranker(ModelConfig(), SCHEMA, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.over_arch[0].weight, again.over_arch[0].weight)
    assert not torch.equal(first.over_arch[0].weight, other.over_arch[0].weight)


def test_widths_that_do_not_fit_name_both_numbers_and_the_key():
    with pytest.raises(ConfigError, match=r"model.dense_arch ends in 32 but model.embedding_dim is 16"):
        build_ranker(ModelConfig(dense_arch=(32,)), SCHEMA)
    with pytest.raises(ConfigError, match=r"model.embedding_dims.b is 8 but model.embedding_dim is 16"):
        build_ranker(ModelConfig(embedding_dims={"b": 8}), SCHEMA)
    with pytest.raises(ConfigError, match=r"names x, which the data do not have; the tables are a, b, c"):
        build_ranker(ModelConfig(embedding_dims={"x": 8}), SCHEMA)
    with pytest.raises(ConfigError, match=r"ends in 2, but the over arch gives one logit"):
        ModelConfig(over_arch=(8, 2))


def test_low_rank_cross_takes_tables_of_different_widths():
    config = ModelConfig(interaction="low_rank_cross", embedding_dim=4, embedding_dims={"b": 8}, dense_arch=(5,))
    ranker = build_ranker(config, SCHEMA, device="cpu")
    assert ranker(*_multi_hot_batch()).shape == (3,)
    assert ranker.interaction.out_features == 5 + 4 + 8 + 4


def test_first_order_terms_add_one_value_per_id_to_the_logit():
    plain = build_ranker(ModelConfig(), SCHEMA, device="cpu", seed=1)
    with_terms = build_ranker(ModelConfig(first_order=True), SCHEMA, device="cpu", seed=1)
    shared = plain.state_dict()
    with_terms.load_state_dict(shared, strict=False)
    terms = {"a": 1.0, "b": 10.0, "c": 100.0}
    with torch.no_grad():
        for name, value in terms.items():
            # The sum of the four columns is the id times the feature's value.
            table = with_terms.ebc.embedding_bags[f"{name}_first_order"].weight
            table.copy_(value * torch.arange(len(table))[:, None] / 4 + torch.tensor([-1.0, 1.0, -2.0, 2.0]))
    batch = _multi_hot_batch()
    # Row 0: a 1+2, b 0; row 1: b 3+3, c 10; row 2: a 6, b 4, c 1+2+3.
    expected = plain(*batch) + torch.tensor([3.0, 1060.0, 646.0])
    torch.testing.assert_close(with_terms(*batch), expected)


def test_standardised_dense_features_reach_the_dense_arch_at_mean_0_and_deviation_1():
    scale = DenseScale(mean=[1.0, 2.0, 0.0], std=[2.0, 0.5, 0.0])
    plain = build_ranker(ModelConfig(), SCHEMA, device="cpu", seed=1)
    scaled = build_ranker(ModelConfig(standardise_dense=True), SCHEMA, device="cpu", seed=1, dense_scale=scale)
    scaled.ebc.load_state_dict(plain.ebc.state_dict())
    dense, sparse = _multi_hot_batch()
    by_hand = torch.stack([(dense[:, 0] - 1) / 2, (dense[:, 1] - 2) / 0.5, dense[:, 2]], dim=1)
    torch.testing.assert_close(scaled(dense, sparse), plain(by_hand, sparse))
    assert "dense_arch.0.mean" in scaled.state_dict()


def test_standardising_without_statistics_is_refused():
    with pytest.raises(ConfigError, match=r"model\.standardise_dense needs the train split's statistics"):
        build_ranker(ModelConfig(standardise_dense=True), SCHEMA)
