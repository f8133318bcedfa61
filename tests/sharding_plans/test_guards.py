"""Plans and optimizers that are refused before any rank starts."""

import copy
import warnings
from typing import Any

import pytest
from torch import nn
from torchrec.distributed.types import ShardingPlan

from data.errors import ConfigError, PlanError
from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer
from sharding_plans.applying.apply import table_configs
from sharding_plans.config import PlanConfig, TableConstraint
from sharding_plans.guards.guards import check_fused_optimizer, check_plan
from sharding_plans.planning.constraints import build_constraints
from sharding_plans.planning.planner import live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder
from tests.sharding_plans.planning import tables


def plan_for(module: nn.Module, *types: str, num_ranks: int = 4, ranks_per_host: int = 2) -> ShardingPlan:
    """A plan with the given sharding type for each table, in order, however unwise."""
    names = [table.name for _, table in table_configs(module)]
    config = PlanConfig(
        tables={
            name: TableConstraint(sharding_types=(kind,), min_partition=4)  # pyright: ignore[reportArgumentType]
            for name, kind in zip(names, types, strict=True)
        }
    )
    constraints = build_constraints(config, module, num_ranks=num_ranks)
    topology = live_topology(num_ranks, ranks_per_host=ranks_per_host, ddr_gib=1.0)
    sharders = [EveryTypeSharder()]
    return make_plan(module, topology, local_batch_size=8, sharders=sharders, constraints=constraints).plan


def refusal(module: nn.Module, plan: ShardingPlan, *, num_ranks: int = 4, ranks_per_host: int = 2) -> str:
    """Why the plan is refused; empty where it is not."""
    try:
        check_plan(module, plan, num_ranks=num_ranks, ranks_per_host=ranks_per_host)
    except PlanError as raised:
        return str(raised)
    return ""


class TestPlansThatDoNotFit:
    module = tables(("a", 40, 16), ("b", 10, 16))

    def test_another_models_plan_is_refused_table_by_table(self) -> None:
        plan = plan_for(tables(("a", 41, 16), ("c", 10, 16)), "table_wise", "row_wise")

        text = refusal(self.module, plan)

        assert "table a: the shards do not cover its 40 rows x 16 columns exactly once" in text
        assert "table b: the plan does not have it" in text
        assert "table c: the model does not have it" in text

    def test_plan_for_more_ranks_is_refused(self) -> None:
        plan = plan_for(self.module, "row_wise", "data_parallel", num_ranks=4)

        text = refusal(self.module, plan, num_ranks=2)

        assert "table a: shards on ranks [2, 3], but the ranks are 0 to 1" in text
        assert "table b: data_parallel on ranks [0, 1, 2, 3], expected [0, 1]" in text

    @pytest.mark.parametrize("kind", ["table_row_wise", "grid_shard"])
    def test_plan_for_smaller_hosts_is_refused(self, kind: str) -> None:
        plan = plan_for(self.module, kind, kind, num_ranks=4, ranks_per_host=2)

        assert f"{kind} in" in refusal(self.module, plan, num_ranks=4, ranks_per_host=4)

    def test_column_shards_over_two_hosts_are_refused(self) -> None:
        plan = plan_for(self.module, "column_wise", "table_wise")
        edited_shards(plan, "a", sharding_type="table_column_wise")

        assert "table_column_wise over hosts [0, 1]" in refusal(self.module, plan)

    def test_overlapping_shards_are_refused(self) -> None:
        plan = plan_for(self.module, "column_wise", "table_wise")
        edited_shards(plan, "a")[0].shard_offsets = [0, 4]

        assert "table a: the shards do not cover" in refusal(self.module, plan)

    def test_unevenly_cut_rows_are_refused(self) -> None:
        # ids go to rank id // 10 whatever the plan says: rows 10 and 11 would be sought on rank 1
        plan = plan_for(self.module, "row_wise", "table_wise")
        first, second, *_ = edited_shards(plan, "a")
        first.shard_sizes, second.shard_offsets, second.shard_sizes = [12, 16], [12, 0], [8, 16]

        assert "row_wise in blocks of [12, 8, 10, 10] rows, expected [10, 10, 10, 10]" in refusal(self.module, plan)

    @pytest.mark.parametrize("kind", ["table_wise", "column_wise", "row_wise", "grid_shard", "table_row_wise"])
    def test_the_planners_own_plans_fit(self, kind: str) -> None:
        assert refusal(self.module, plan_for(self.module, kind, "table_column_wise")) == ""


def edited_shards(plan: ShardingPlan, table: str, sharding_type: str | None = None) -> list[Any]:
    how: Any = plan.plan["ebc"][table]  # pyright: ignore
    how.sharding_spec = copy.deepcopy(how.sharding_spec)
    how.sharding_type = sharding_type or how.sharding_type
    return how.sharding_spec.shards


class TestMeanPooling:
    shapes = (("a", 40, 16), ("b", 10, 16))

    @pytest.mark.parametrize("types", [("row_wise", "table_wise"), ("grid_shard", "grid_shard")])
    def test_mean_is_refused_where_torchrec_divides_wrongly(self, types: tuple[str, str]) -> None:
        module = tables(*self.shapes, mean=("a",))

        assert "Tables a pool by MEAN" in refusal(module, plan_for(module, *types))

    @pytest.mark.parametrize("types", [("row_wise", "table_row_wise"), ("table_wise", "column_wise")])
    def test_mean_is_allowed_where_torchrec_is_right(self, types: tuple[str, str]) -> None:
        module = tables(*self.shapes, mean=("a", "b"))

        assert refusal(module, plan_for(module, *types)) == ""


class TestRowWiseAdagradAndColumnSplits:
    def module(self) -> nn.Module:
        module = tables(("a", 40, 16), ("b", 10, 16))
        attach_sparse_optimizer(module, SparseOptimizerConfig(algorithm="row_wise_adagrad"))
        return module

    def test_column_splits_leave_the_search(self) -> None:
        constraints = build_constraints(PlanConfig(), self.module(), num_ranks=4)

        assert constraints["a"].sharding_types == ["data_parallel", "table_wise", "row_wise", "table_row_wise"]

    def test_asking_for_a_column_split_is_refused(self) -> None:
        config = PlanConfig(tables={"a": TableConstraint(sharding_types=("column_wise",))})

        with pytest.raises(PlanError, match="table a to be column_wise, but row-wise Adagrad keeps one accumulator"):
            build_constraints(config, self.module(), num_ranks=4)

    def test_allowing_nothing_else_is_refused(self) -> None:
        with pytest.raises(PlanError, match="No sharding type is left for table a"):
            build_constraints(PlanConfig(sharding_types=("column_wise", "grid_shard")), self.module(), num_ranks=4)

    @pytest.mark.parametrize("kind", ["column_wise", "table_column_wise", "grid_shard"])
    def test_a_given_plan_with_column_splits_is_refused(self, kind: str) -> None:
        plan = plan_for(tables(("a", 40, 16), ("b", 10, 16)), kind, "table_wise")

        assert f"a is {kind}" in refusal(self.module(), plan)


class TestFusedOptimizers:
    def test_what_has_no_cpu_kernel_is_refused_with_what_has(self) -> None:
        with pytest.raises(ConfigError, match=r"adam has no fused kernel on CPU.*: sgd, adagrad, row_wise_adagrad"):
            attach_sparse_optimizer(tables(("a", 4, 4)), SparseOptimizerConfig(algorithm="adam"))

    @pytest.mark.parametrize(
        ("setting", "device"), [("momentum", "cpu"), ("weight_decay", "cpu"), ("momentum", "cuda")]
    )
    def test_settings_that_the_kernels_ignore_are_refused(self, setting: str, device: str) -> None:
        with pytest.raises(ConfigError, match=f"{setting} is 0.1, which FBGEMM's fused"):
            check_fused_optimizer("sgd", device, **{"momentum": 0.0, "weight_decay": 0.0, setting: 0.1})

    def test_adam_on_cuda_leaves_no_table_data_parallel(self) -> None:
        module = tables(("a", 40, 16))
        attach_sparse_optimizer(module, SparseOptimizerConfig(algorithm="adam"), "cuda")

        assert "data_parallel" not in (build_constraints(PlanConfig(), module, num_ranks=4)["a"].sharding_types or [])

    def test_every_table_has_settings_of_its_own_with_eps(self) -> None:
        module = tables(("a", 4, 4), ("b", 4, 4))
        attach_sparse_optimizer(module, SparseOptimizerConfig(algorithm="adagrad", lr=0.5, eps=1e-8))

        a, b = (weight._optimizer_kwargs[0] for weight in module.parameters())  # pyright: ignore
        assert a == b == {"lr": 0.5, "eps": 1e-8}
        assert a is not b


def test_nothing_is_printed_while_planning(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan_for(tables(("a", 40, 16)), "data_parallel")

    assert capfd.readouterr() == ("", "")
