"""From a strategy and the tables to what TorchRec's planner reads: constraints per table, proposers, a partitioner."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from torchrec.distributed.planner.partitioners import GreedyPerfPartitioner, MemoryBalancedPartitioner, SortBy
from torchrec.distributed.planner.proposers import (
    DynamicProgrammingProposer,
    EmbeddingOffloadScaleupProposer,
    GreedyProposer,
    GridSearchProposer,
    UniformProposer,
)
from torchrec.distributed.planner.types import ParameterConstraints, Partitioner, Proposer

from data.errors import PlanError
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.names import unknown_name
from sharding_plans.strategies.local_search import LocalSearchProposer
from sharding_plans.strategies.partitioners import Group, PinnedPartitioner
from sharding_plans.strategies.proposers import LimitedProposer, Stop
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.tables.cache_statistics import cache_params
from sharding_plans.tables.table_specs import ModelTables, TableSpec
from sharding_plans.types import SHARDING_TYPES

MIB = 2**20

_PROPOSERS: dict[str, Callable[[], Proposer]] = {
    "grid_search": GridSearchProposer,
    "greedy": GreedyProposer,
    "greedy_by_sum": lambda: GreedyProposer(use_depth=False),
    "uniform": UniformProposer,
    "dynamic_programming": DynamicProgrammingProposer,
    "offload_scale_up": EmbeddingOffloadScaleupProposer,
    "local_search": LocalSearchProposer,
}
_PARTITIONERS: dict[str, Callable[[], Partitioner]] = {
    "greedy": GreedyPerfPartitioner,
    "greedy_by_time": lambda: GreedyPerfPartitioner(sort_by=SortBy.PERF),
    "memory_balanced": MemoryBalancedPartitioner,
}
_PROPOSAL_WORK = 2_000_000
_SEARCHED = tuple(kind for kind in SHARDING_TYPES if kind != "grid_shard")
"""What TorchRec searches when a table is left free."""


def table_constraints(
    strategy: Strategy, model: ModelTables, excluded: Mapping[str, str], global_batch_size: int | None = None
) -> dict[str, ParameterConstraints]:
    """Constraints for every table, by name.

    `excluded` maps sharding types that must not be used (another algorithm than the unsharded model's) to the reason. Raises
    PlanError for a pattern that no table matches, InfeasiblePlan for a table to which only excluded types are open.
    """
    check_patterns(strategy, model)
    return {
        table.name: _constraint(table, rule_of(strategy, table), excluded, global_batch_size) for table in model.tables
    }


def rule_of(strategy: Strategy, table: TableSpec) -> TableRule:
    """All that a strategy says of one table, merged; a table that is tied to a rank or a group is table-wise."""
    rule = merged_rule(strategy, table)
    if rule.rank is not None or any(fnmatchcase(table.name, name) for group in strategy.together for name in group):
        return replace(rule, sharding_types=("table_wise",))
    return rule


def merged_rule(strategy: Strategy, table: TableSpec) -> TableRule:
    """The strategy's general rule for a table, overridden by its rules for that table in their order."""
    rule = _base_rule(strategy, table)
    for pattern, over in strategy.tables.items():
        if fnmatchcase(table.name, pattern):
            rule = replace(rule, **{key: value for key, value in vars(over).items() if value is not None})
    return rule


def check_patterns(strategy: Strategy, model: ModelTables) -> None:
    """Raise PlanError for a rule or group of tables that no table matches, with the tables, nearest first."""
    for pattern in (*strategy.tables, *(name for group in strategy.together for name in group)):
        if not any(fnmatchcase(name, pattern) for name in model.names):
            raise PlanError(f"Strategy {strategy.name}: " + unknown_name("table", pattern, model.names))


def check_device(strategy: Strategy, device: str) -> None:
    """Raise InfeasiblePlan for a strategy that means nothing on the device."""
    if device != "cpu":
        return
    if "dynamic_programming" in strategy.proposers:
        raise InfeasiblePlan(
            f"Strategy {strategy.name}: TorchRec's dynamic programming shares out GPU memory, which CPU ranks do not have."
        )
    if strategy.offload_above_mib is not None:
        raise InfeasiblePlan(
            f"Strategy {strategy.name}: offloading moves tables out of GPU memory, which CPU ranks do not have."
        )


def build_partitioner(strategy: Strategy, model: ModelTables) -> Partitioner:
    """The partitioner that the strategy names, keeping its groups together and its pinned tables where they belong."""
    inner = _PARTITIONERS[strategy.partitioner]()
    groups = [*_pinned(strategy, model), *_together(strategy, model)]
    return PinnedPartitioner(inner, groups) if groups else inner


def build_proposers(
    strategy: Strategy,
    *,
    num_tables: int,
    num_ranks: int,
    first_plan_only: bool = False,
    on_proposal: Callable[[], Any] | None = None,
) -> list[Proposer]:
    """The strategy's proposers, each stopped after so many proposals that large searches end in minutes.

    A proposal costs time in proportion to tables x ranks; the limit is a number, not a time, so that plans repeat. With
    `first_plan_only` the search ends at the first plan that fits: enough to know that there is one.
    """
    limit = proposal_limit(num_tables, num_ranks)
    stop = Stop(after_first_plan=first_plan_only)
    return [LimitedProposer(_PROPOSERS[name](), limit, stop, on_proposal) for name in strategy.proposers]


def proposal_limit(num_tables: int, num_ranks: int) -> int:
    """Proposals that one proposer may make for so many tables on so many ranks."""
    return max(20, _PROPOSAL_WORK // (num_tables * num_ranks))


def _base_rule(strategy: Strategy, table: TableSpec) -> TableRule:
    types, kernels, cache = strategy.sharding_types, strategy.compute_kernels, None
    mib = table.weight_bytes / MIB
    split = tuple(kind for kind in types or _SEARCHED if kind != "data_parallel")
    if strategy.data_parallel_below_mib is not None:
        types = ("data_parallel",) if mib <= strategy.data_parallel_below_mib else split
    if strategy.offload_above_mib is not None and mib > strategy.offload_above_mib:
        types, kernels, cache = split, ("fused_uvm_caching",), strategy.cache_load_factor
    width = _column_width(strategy.column_shard_width, table.embedding_dim)
    return TableRule(sharding_types=types, compute_kernels=kernels, min_partition=width, cache_load_factor=cache)


def _column_width(width: int | None, dim: int) -> int | None:
    """The width asked for, or half of a table that is no wider (in steps of 4 columns, as FBGEMM wants)."""
    if width is None or dim > width:
        return width
    return max(4, dim // 2 // 4 * 4)


def _constraint(
    table: TableSpec, rule: TableRule, excluded: Mapping[str, str], global_batch_size: int | None
) -> ParameterConstraints:
    asked = rule.sharding_types
    types = None if asked is None else [kind for kind in asked if kind not in excluded]
    if asked and not types:
        raise InfeasiblePlan(f"Table {table.name} may only be {' or '.join(asked)}, but {excluded[asked[0]]}.")
    kernels = list(rule.compute_kernels) if rule.compute_kernels else None
    if kernels and (types is None or "data_parallel" in types) and "dense" not in kernels:
        kernels.append("dense")  # the only kernel of data-parallel tables, which no other type takes
    return ParameterConstraints(
        sharding_types=types,
        compute_kernels=kernels,
        min_partition=rule.min_partition,
        pooling_factors=list(table.pooling_factors),
        is_weighted=table.is_weighted,
        cache_params=cache_params(table, rule.cache_load_factor, global_batch_size),
    )


def _pinned(strategy: Strategy, model: ModelTables) -> list[Group]:
    by_rank: dict[int, list[str]] = {}
    for table in model.tables:
        rank = rule_of(strategy, table).rank
        if rank is not None:
            by_rank.setdefault(rank, []).append(table.name)
    return [Group(tables=tuple(names), rank=rank) for rank, names in sorted(by_rank.items())]


def _together(strategy: Strategy, model: ModelTables) -> list[Group]:
    groups = []
    for patterns in strategy.together:
        names = tuple(name for name in model.names if any(fnmatchcase(name, pattern) for pattern in patterns))
        groups.append(Group(tables=names, rank=None))
    return groups
