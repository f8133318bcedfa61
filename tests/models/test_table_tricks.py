"""Quotient-remainder, mixed dimensions and mean pooling on two rows, by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.composition import SplitIds
from models.config import ModelConfig
from models.ranker import Ranker
from models.table_config import MixedDimensionsConfig, QuotientRemainderConfig, TableOverride, TablesConfig
from models.table_layout import mixed_width

SCHEMA = Schema(
    dense=(),
    sparse=(SparseFeature(name="a", num_embeddings=10), SparseFeature(name="b", num_embeddings=3, is_list=True)),
)
#            rows:     0     1
# feature a:           [7]   [4]
# feature b:           [1,2] []
TWO_ROWS = KeyedJaggedTensor(
    keys=["a", "b"], values=torch.tensor([7, 4, 1, 2]), lengths=torch.tensor([1, 1, 2, 0], dtype=torch.int32)
)


def ranker_of(dim: int = 4, **tables: Any) -> Ranker:
    """An unsharded ranker whose table row i of every table holds i + 1 in its first column, and 10 (i + 1) in the others."""
    config = ModelConfig(ranker="mlp", embedding_dim=dim, over_arch=(1,), tables=TablesConfig(**tables))
    ranker = build_ranker(config, SCHEMA, device="cpu")
    with torch.no_grad():
        for bag in ranker.ebc.embedding_bags.values():
            weight: Any = bag.weight
            rows = torch.arange(1.0, len(weight) + 1).unsqueeze(1)
            weight.copy_(torch.cat([rows, 10 * rows.expand(-1, weight.shape[1] - 1)], dim=1))
    return ranker


def vectors(ranker: Ranker) -> Tensor:
    """What the arch gets for the two rows."""
    seen: list[Tensor] = []
    ranker.arch.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1][0]))
    ranker(torch.zeros(2, 0), TWO_ROWS)
    return seen[0]


def shapes(ranker: Ranker) -> dict[str, tuple[int, ...]]:
    weights: Any = {name: bag.weight for name, bag in ranker.ebc.embedding_bags.items()}
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def split(operation: str, **more: Any) -> dict[str, Any]:
    return {"quotient_remainder": QuotientRemainderConfig(operation=operation, collisions=4, threshold=5), **more}  # pyright: ignore[reportArgumentType]


B_SUMS = [[2.0 + 3.0, 50.0, 50.0, 50.0], [0.0] * 4]
# id 7 is quotient 1 and remainder 3, id 4 is quotient 1 and remainder 0: rows 1 and 3 hold (2, 20 ..) and (4, 40 ..)
QUOTIENT, REMAINDERS = (2.0, 20.0), [(4.0, 40.0), (1.0, 10.0)]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("add", [[2 + 4.0] + [20 + 40.0] * 3, [2 + 1.0] + [20 + 10.0] * 3]),
        ("mult", [[2 * 4.0] + [20 * 40.0] * 3, [2 * 1.0] + [20 * 10.0] * 3]),
    ],
)
def test_quotient_and_remainder_rows_meet(operation: str, expected: list[list[float]]) -> None:
    ranker = ranker_of(**split(operation))

    assert shapes(ranker) == {
        "a_q": (3, 4),
        "a_r": (4, 4),
        "b": (3, 4),
    }
    assert vectors(ranker).tolist() == [[*a, *b] for a, b in zip(expected, B_SUMS, strict=True)]


def test_concatenated_quotient_and_remainder_are_half_as_wide() -> None:
    ranker = ranker_of(dim=8, **split("concat"))

    assert vectors(ranker)[:, :8].tolist() == [
        [2.0, 20.0, 20.0, 20.0, 4.0, 40.0, 40.0, 40.0],
        [2.0, 20.0, 20.0, 20.0, 1.0, 10.0, 10.0, 10.0],
    ]


def test_splitting_keeps_bags_weights_and_id_types() -> None:
    ids = KeyedJaggedTensor(
        keys=["a", "b"],
        values=torch.tensor([7, 4, 9, 2], dtype=torch.int32),
        weights=torch.tensor([0.5, 1.0, 2.0, 3.0]),
        lengths=torch.tensor([0, 3, 1, 0], dtype=torch.int32),
    )

    found = SplitIds({"a": ("a_q", "a_r"), "b": ("b",)}, collisions=4)(ids)

    assert found.keys() == ["a_q", "a_r", "b"]
    assert found.values().tolist() == [1, 1, 2, 3, 0, 1, 2]
    assert found.values().dtype is torch.int32
    assert found.lengths().tolist() == [0, 3, 0, 3, 1, 0]
    assert found.weights().tolist() == [0.5, 1.0, 2.0, 0.5, 1.0, 2.0, 3.0]


def test_mean_pooling_divides_by_the_ids_of_a_bag_and_leaves_an_empty_one_at_zero() -> None:
    found = vectors(ranker_of(pooling="mean"))

    assert found[:, 4:].tolist() == [[2.5, 25.0, 25.0, 25.0], [0.0] * 4]
    assert found[:, :4].tolist() == [[8.0, 80.0, 80.0, 80.0], [5.0, 50.0, 50.0, 50.0]]


def test_a_narrow_table_is_projected_to_the_common_width() -> None:
    """Table a has 4 of 8 columns: at temperature 0.6, 8 (3 / 10) ** 0.6 = 3.88. The projection is set to [1, .., 1] rows."""
    ranker = ranker_of(dim=8, mixed_dimensions=MixedDimensionsConfig(temperature=0.6, threshold=5))
    (projection,) = [weight for name, weight in ranker.named_parameters() if "projections" in name]
    with torch.no_grad():
        projection.copy_(torch.ones(8, 4) * torch.arange(1.0, 9.0).unsqueeze(1))

    # id 7 has row (8, 80, 80, 80): sum 248; id 4 (5, 50, 50, 50): sum 155
    expected = [[248.0 * k for k in range(1, 9)], [155.0 * k for k in range(1, 9)]]
    assert ranker.ebc.embedding_bags["a"].weight.shape == (10, 4)
    assert vectors(ranker)[:, :8].tolist() == expected


@pytest.mark.parametrize(
    ("rows", "temperature", "power_of_two", "expected"),
    [
        # dim 64, smallest table 4 rows: 64 (4 / n) ** t
        (4, 0.3, True, 64),
        (4096, 0.3, True, 8),  # 64 / 2 ** 3
        (4096, 0.2, True, 16),  # 64 / 2 ** 2
        (500, 0.3, True, 16),  # 15.1
        (500, 0.3, False, 16),
        (200, 0.3, False, 20),  # 19.8
        (10_000_000, 0.5, True, 4),  # 0.04: FBGEMM's least
    ],
)
def test_widths_follow_the_power_law(rows: int, temperature: float, power_of_two: bool, expected: int) -> None:
    assert mixed_width(64, rows, 4, temperature, power_of_two=power_of_two) == expected


def test_features_that_share_a_table_look_up_one_table() -> None:
    shared = (
        SparseFeature(name="home", num_embeddings=10, table="city"),
        SparseFeature(name="work", num_embeddings=10, table="city"),
    )
    config = ModelConfig(ranker="mlp", embedding_dim=4, over_arch=(1,), first_order=True)
    ranker = build_ranker(config, Schema(dense=(), sparse=shared), device="cpu")
    ids = KeyedJaggedTensor(keys=["home", "work"], values=torch.tensor([7, 4]), lengths=torch.tensor([1, 1]))

    ranker(torch.zeros(1, 0), ids).sum().backward()

    assert shapes(ranker) == {
        "city": (10, 4),
        "city_first_order": (10, 4),
    }
    gradient: Any = ranker.ebc.embedding_bags["city"].weight.grad
    assert gradient.abs().sum(dim=1).nonzero().flatten().tolist() == [4, 7]


@pytest.mark.parametrize(
    ("dim", "tables", "message"),
    [
        (4, split("concat"), "Table a is 4 wide, and concat makes two of half that"),
        (4, {"override": {"x*": TableOverride(frozen=True)}}, r"override\.x\* matches no table. The tables are a, b"),
        (4, {"override": {"a": TableOverride(quotient_remainder=True)}}, "operation is off"),
        (4, {"override": {"a": TableOverride(width=8)}}, "a table is projected up, never down"),
        (4, split("add", override={"a": TableOverride(pretrained="a.npy")}), "both split .* and pretrained"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(dim: int, tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ranker_of(dim=dim, **tables)


def test_a_mean_over_weighted_ids_is_refused() -> None:
    schema = Schema(dense=(), sparse=(SparseFeature(name="a", num_embeddings=4, is_list=True, weighted=True),))
    config = ModelConfig(ranker="mlp", over_arch=(1,), tables=TablesConfig(pooling="mean"))

    with pytest.raises(ConfigError, match="pools by mean, but feature a has weights"):
        build_ranker(config, schema)
