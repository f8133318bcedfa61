import re
from typing import Any

import pytest
from torchrec.distributed.planner.types import ParameterConstraints, PlannerError

from data.errors import ConfigError, PlanError
from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.planning.constraints import MemoryReservation, build_constraints
from sharding_plans.planning.planner import Planned, SortedEnumerator, live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from sharding_plans.types import SHARDING_TYPES
from tests.sharding_plans.planning import tables

MODULE = tables(("C1", 1000, 16), ("C2", 1000, 16), ("D1", 1000, 16))


def plan(config: PlanConfig, *, num_ranks: int = 2, ddr_gib: float = 1.0, reservation: float = 0.0) -> Planned:
    return make_plan(
        MODULE,
        live_topology(num_ranks, ranks_per_host=num_ranks, ddr_gib=ddr_gib),
        local_batch_size=8,
        sharders=[EveryTypeSharder()],
        constraints=build_constraints(config, MODULE, num_ranks=num_ranks),
        reservation=MemoryReservation(reservation),
    )


@pytest.mark.parametrize("kind", SHARDING_TYPES)
def test_every_sharding_type_can_be_had_on_cpu(kind: str) -> None:
    planned = plan(PlanConfig(sharding_types=(kind,)))  # pyright: ignore[reportArgumentType]

    assert {option.sharding_type for option in planned.options} == {kind}
    assert {option.compute_kernel for option in planned.options} == {"dense" if kind == "data_parallel" else "fused"}


def test_later_patterns_win_and_exact_names_win_over_patterns() -> None:
    config = PlanConfig(
        tables={
            "C2": TableConstraint(sharding_types=("row_wise",)),
            "*": TableConstraint(sharding_types=("table_wise",), min_partition=4),
            "C*": TableConstraint(sharding_types=("column_wise",)),
        }
    )

    planned = {option.name: option for option in plan(config).options}

    assert {name: option.sharding_type for name, option in planned.items()} == {
        "C1": "column_wise",
        "C2": "row_wise",
        "D1": "table_wise",
    }
    assert [shard.size for shard in planned["C1"].shards] == [[1000, 4]] * 4


def test_a_pattern_without_a_table_lists_the_tables_nearest_first() -> None:
    with pytest.raises(ConfigError, match=r"sharding\.tables\.D11 matches no table\. The tables are D1, "):
        plan(PlanConfig(tables={"D11": TableConstraint(min_partition=4)}))


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (
            PlanConfig,
            {"sharding_types": ("tabel_wise",)},
            "names tabel_wise, which is no sharding type. They are table_wise",
        ),
        (PlanConfig, {"sharding_types": ()}, "sharding.sharding_types is empty"),
        (PlanConfig, {"reserved_fraction": 1.0}, "sharding.reserved_fraction is 1.0"),
        (PlanConfig, {"ddr_gib": 0.0}, "sharding.ddr_gib is 0.0"),
        (TableConstraint, {"min_partition": 6}, "column shards are a multiple of 4 wide"),
    ],
)
def test_impossible_settings_are_refused(config: type, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        config(**settings)


def test_one_rank_splits_nothing_unless_asked() -> None:
    assert {option.sharding_type for option in plan(PlanConfig(), num_ranks=1).options} <= {
        "table_wise",
        "data_parallel",
    }
    asked = PlanConfig(tables={"*": TableConstraint(sharding_types=("row_wise",))})
    assert {option.sharding_type for option in plan(asked, num_ranks=1).options} == {"row_wise"}


def test_no_room_is_a_plan_error_with_the_planners_reason() -> None:
    with pytest.raises(PlanError, match=r"(?s)No sharding plan for 2 cpu ranks.*insufficient storage.*ddr") as raised:
        plan(PlanConfig(), ddr_gib=5e-5)

    assert isinstance(raised.value.__cause__, PlannerError)
    assert "\t" not in str(raised.value)


def test_a_kernel_that_the_device_lacks_is_a_plan_error_that_names_the_table() -> None:
    with pytest.raises(PlanError, match=r"No available sharding type and compute kernel.* for C1"):
        plan(PlanConfig(tables={"C1": TableConstraint(compute_kernels=("fused_uvm",))}))


def test_reserved_memory_is_kept_free_on_cpu_ranks() -> None:
    tight = PlanConfig(
        sharding_types=("table_wise",)
    )  # three tables of 64,000 bytes and buffers on two ranks: two on one
    plan(tight, ddr_gib=140_000 / 2**30)

    with pytest.raises(PlanError):
        plan(tight, ddr_gib=140_000 / 2**30, reservation=0.1)


def test_ranks_that_do_not_fill_hosts_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 ranks at 2 a host"):
        live_topology(3, ranks_per_host=2)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_options_come_in_one_order_whatever_the_hash_seed(device: str) -> None:
    # TorchRec's own enumerator orders them by sets of strings, so that ranks break ties between plans differently
    free = {name: ParameterConstraints(sharding_types=list(SHARDING_TYPES)) for name in ("C1", "C2", "D1")}
    topology = live_topology(4, device=device, ranks_per_host=4, hbm_gib=1.0, ddr_gib=1.0)

    options = SortedEnumerator(topology, batch_size=8, constraints=free).enumerate(MODULE, [EveryTypeSharder()])  # pyright: ignore

    for name in free:
        found = [(option.sharding_type, option.compute_kernel) for option in options if option.name == name]
        assert found == sorted(found, key=lambda option: (SHARDING_TYPES.index(option[0]), option[1]))
        assert {kind for kind, _ in found} == set(SHARDING_TYPES)
