from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.files.plan_table import plan_table, rank_ranges
from sharding_plans.planning.constraints import build_constraints
from sharding_plans.planning.planner import live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from tests.sharding_plans.planning import tables


def test_table_shows_every_table_and_the_totals_of_every_rank() -> None:
    module = tables(("small", 3, 16), ("large", 65_536, 16))
    config = PlanConfig(
        tables={
            "small": TableConstraint(sharding_types=("data_parallel",)),
            "large": TableConstraint(sharding_types=("row_wise",)),
        }
    )
    planned = make_plan(
        module,
        live_topology(2, ranks_per_host=2, ddr_gib=1.0),
        local_batch_size=8,
        sharders=[EveryTypeSharder()],
        constraints=build_constraints(config, module, num_ranks=2),
    )

    lines = [line.split() for line in plan_table(planned).splitlines()]

    assert ["small", "3", "16", "data_parallel", "dense", "0-1"] in [line[:6] for line in lines]
    large = next(line for line in lines if line[:1] == ["large"])
    assert large[1:6] == ["65,536", "16", "row_wise", "fused", "0-1"]
    assert large[6] == "4.0"  # 65,536 rows x 16 columns x 4 bytes; the buffers of 16 rows do not show
    assert [line[:2] for line in lines if len(line) == 5 and line[0] in "01"] == [["0", "2"], ["1", "2"]]


def test_ranks_are_shown_as_ranges() -> None:
    assert [rank_ranges(ranks) for ranks in ([3, 0, 1, 2], [0, 2, 3], [5])] == ["0-3", "0,2-3", "5"]
