"""A CPU rank that is alone holds its tables whole where all are small for its batch, and fuses them otherwise."""

from typing import Any

import pytest
from torch import nn
from torchrec.modules.embedding_configs import DataType

from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.planning.constraints import build_constraints
from tests.sharding_plans.planning import tables

SMALL, LARGE = ("a", 100, 16), ("b", 1000, 8)


def types(module: nn.Module, batch_size: int, config: PlanConfig | None = None, **settings: Any) -> list[str]:
    """The sharding types that are open to the tables on one rank, in words."""
    found = build_constraints(
        config or PlanConfig(), module, num_ranks=1, local_batch_size=batch_size, **settings
    ).values()
    return [" or ".join(each.sharding_types or ()) for each in found]


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (399, "table_wise"),  # 399 * (16 + 8) = 9,576 values, and the tables have 1,600 + 8,000
        (400, "data_parallel"),
        (2**20 // 24, "data_parallel"),
        (2**20 // 24 + 1, "table_wise"),  # enough values for several threads, which fused tables share
    ],
)
def test_tables_are_held_whole_where_a_batch_looks_up_more_values_than_they_have(
    batch_size: int, expected: str
) -> None:
    assert types(tables(SMALL, LARGE), batch_size) == [expected] * 2


def test_what_the_user_asks_for_goes_before_and_other_ranks_and_devices_keep_their_choice() -> None:
    module = tables(SMALL, LARGE)
    asked = PlanConfig(tables={"a": TableConstraint(sharding_types=("row_wise",))})
    assert types(module, 1000, asked) == ["row_wise", "table_wise"]
    assert types(module, 1000, PlanConfig(sharding_types=("table_wise",))) == ["table_wise"] * 2
    assert types(module, 1000, device="cuda") == ["table_wise"] * 2
    two = build_constraints(PlanConfig(), module, num_ranks=2, local_batch_size=1000)
    assert all(len(each.sharding_types or ()) > 1 for each in two.values())


def test_tables_of_lower_precision_stay_fused() -> None:
    module = tables(SMALL)
    module.ebc.embedding_bag_configs()[0].data_type = DataType.FP16  # pyright: ignore
    assert types(module, 1000) == ["table_wise"]


def test_pooling_factors_count() -> None:
    module = tables(SMALL)
    feature: Any = type("Feature", (), {"name": "a", "pooling_factor": 10.0})()
    assert types(module, 10) == ["table_wise"]
    assert types(module, 10, features=[feature]) == ["data_parallel"]
