"""Learned weights by position: two rows by hand, plain PyTorch under three plans, checkpoints, bad settings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.card import model_card
from models.config import ModelConfig
from models.positions import SplitPositions
from models.table_config import QuotientRemainderConfig, TableOverride, TablesConfig
from models.table_layout import looked_up_features
from tests.models.position_twins import PLANS, Trained, train_by_plans, train_plain

TOLERANCE = 1e-6


def config_of(override: TableOverride, **more: Any) -> ModelConfig:
    tables = TablesConfig(override={"b": override}, **more)
    return ModelConfig(ranker="mlp", embedding_dim=4, over_arch=(1,), tables=tables)


def schema_of(**feature: Any) -> Schema:
    single = SparseFeature(name="a", num_embeddings=10)
    return Schema(dense=(), sparse=(single, SparseFeature(**{"name": "b", "num_embeddings": 20, **feature})))


def test_bags_are_parted_by_position_and_weights_go_with_their_ids() -> None:
    #            rows:     0      1      2
    # feature a:           [7]    [4]    [6]
    # feature b:           [1,2]  []     [3,9,8,5]
    ids = KeyedJaggedTensor(
        keys=["a", "b"],
        values=torch.tensor([7, 4, 6, 1, 2, 3, 9, 8, 5], dtype=torch.int32),
        weights=torch.arange(9.0),
        lengths=torch.tensor([1, 1, 1, 2, 0, 4], dtype=torch.int32),
    )

    found = SplitPositions({"a": ("a",), "b": ("b_p1", "b_p2", "b_p3")}, is_weighted=True)(ids)

    assert found.keys() == ["a", "b_p1", "b_p2", "b_p3"]
    assert found.values().tolist() == [7, 4, 6, 1, 3, 2, 9, 8, 5]
    assert found.weights().tolist() == [0, 1, 2, 3, 5, 4, 6, 7, 8]
    assert found.lengths().tolist() == [1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 0, 2]
    assert (found.values().dtype, found.lengths().dtype) == (torch.int32, torch.int32)


def test_a_bag_is_the_sum_of_its_rows_by_the_weight_of_their_position() -> None:
    schema = schema_of(is_list=True, max_length=3)
    ranker = build_ranker(config_of(TableOverride(pooling="position")), schema, device="cpu")
    (weight,) = [weight for name, weight in ranker.named_parameters() if "position_weights" in name]
    with torch.no_grad():
        weight.copy_(torch.tensor([1.0, 0.5, -2.0]))
        ranker.ebc.embedding_bags["b"].weight.copy_(torch.arange(20.0).unsqueeze(1).expand(-1, 4))  # pyright: ignore
    seen: list[torch.Tensor] = []
    ranker.arch.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1][0][:, 4:]))
    ids = KeyedJaggedTensor(["a", "b"], torch.tensor([0, 0, 7, 4, 6]), lengths=torch.tensor([1, 1, 3, 0]))

    ranker(torch.zeros(2, 0), ids)

    assert seen[0].tolist() == [[7 + 0.5 * 4 - 2 * 6] * 4, [0.0] * 4]


@pytest.fixture(scope="module")
def sharded(run_on_ranks: Callable[..., list[Any]]) -> list[dict[str, Trained]]:
    return run_on_ranks(2, train_by_plans)


def test_weights_learn_under_every_plan_as_in_plain_pytorch(sharded: list[dict[str, Trained]]) -> None:
    expected = train_plain()

    assert all((weight - 1).abs().max() > 1000 * TOLERANCE for weight in expected.weights.values())
    for plan in PLANS:
        ranks = [rank[plan] for rank in sharded]
        found = torch.stack([rank.losses for rank in ranks]).mean(dim=0)
        torch.testing.assert_close(found, expected.losses, rtol=0, atol=TOLERANCE)
        for rank in ranks:
            torch.testing.assert_close(rank.gradients, expected.gradients, rtol=0, atol=TOLERANCE)
            torch.testing.assert_close(rank.weights, expected.weights, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("override", "feature", "more", "message"),
    [
        ({}, {"is_list": True}, {}, "lists of any length: say how many positions"),
        ({}, {"is_list": True, "max_length": 1}, {}, "lists of at most one id"),
        ({"positions": 1}, {"is_list": True}, {}, "positions is 1; expected 2 or more"),
        (
            {"pooling": "sum", "positions": 3},
            {"is_list": True},
            {},
            "sets positions for table b, which is pooled by sum",
        ),
        (
            {"positions": 3, "quotient_remainder": True},
            {"is_list": True},
            {"quotient_remainder": QuotientRemainderConfig(operation="add")},
            "cannot be both split into quotient and remainder and pooled by position",
        ),
        ({"positions": 3}, {}, {}, "table b is pooled by position, but none of its features has lists"),
    ],
)
def test_positions_that_cannot_be_weighed_are_refused(
    override: dict[str, Any], feature: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    def build() -> None:
        config = config_of(TableOverride(**{"pooling": "position", **override}), **more)
        build_ranker(config, schema_of(**feature))

    with pytest.raises(ConfigError, match=message):
        build()


def test_a_feature_named_like_a_position_is_refused() -> None:
    tables = TablesConfig(override={"a": TableOverride(pooling="position", positions=2)})
    names = {"a": True, "a_p1": False}
    sparse = tuple(SparseFeature(name=name, num_embeddings=4, is_list=is_list) for name, is_list in names.items())

    with pytest.raises(ConfigError, match="'a_p1' would be looked up twice"):
        build_ranker(ModelConfig(ranker="mlp", over_arch=(1,), tables=tables), Schema(dense=(), sparse=sparse))


def test_the_planner_and_the_card_count_each_id_once() -> None:
    schema = schema_of(is_list=True, pooling_factor=2.5)
    config = config_of(TableOverride(pooling="position", positions=3))
    factors = {feature.name: feature.pooling_factor for feature in looked_up_features(config, schema)}
    card = model_card(config, schema)

    assert factors == {"a": 1.0, "b_p1": 1.0, "b_p2": 1.0, "b_p3": 0.5}
    # one row of a and 2.5 rows of b, 4 columns of 4 bytes each
    assert card.embedding_bytes_per_sample == 3.5 * 16
    # the positions' three weights, each a product and a sum in four columns
    assert [(part.parameters, part.flops_per_sample) for part in card.parts if part.name == "position weights"] == [
        (3, 24)
    ]
