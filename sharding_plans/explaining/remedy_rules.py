"""Remedies inside the search: a pin fewer, a sharding type or kernel more for a table, another strategy."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from sharding_plans.explaining.feasibility import Checker
from sharding_plans.explaining.needs import Needs
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.strategies.strategy_constraints import merged_rule, rule_of
from sharding_plans.types import SHARDING_TYPES

_CACHE = 0.1
_OFFERED = ("row_wise", "table_row_wise", "column_wise", "table_wise")


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change after which a plan was found."""

    kind: str
    text: str
    """In words, with the figures before and after."""
    how: str
    """How to ask for it: a command-line option, or keys of a strategy file."""
    request: PlanRequest
    """The request with the change made: planning it gives a plan."""


def without_pins(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """As few tables as possible set free of their rank or their group."""
    for names in _growing(held_tables(request)):
        freed = _freed(request, names)
        if checker(request.change(strategy=freed)):
            listed = ", ".join(names)
            return Remedy(
                kind="pins",
                text=f"let the planner place {listed}, which {'is' if len(names) == 1 else 'are'} tied to a rank or a group",
                how=f"take {listed} out of `rank` and `together` of the strategy",
                request=request.change(strategy=freed),
            )
    return None


def other_ways(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """One sharding type or kernel more for as few tables as possible, or else the planner's free search."""
    for names, extra, in_words in _extras(request, needs):
        strategy = _with_rules(request, names, extra)
        if checker(request.change(strategy=strategy)):
            listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            return Remedy(
                kind="ways",
                text=f"allow {in_words} for {'table' if len(names) == 1 else 'tables'} {listed}",
                how=f"in the strategy: tables: {_yaml_tables(strategy, names)}",
                request=request.change(strategy=strategy),
            )
    return _free_search(request, checker)


def held_tables(request: PlanRequest) -> list[str]:
    """The tables that the strategy ties to a rank or a group, largest first."""
    strategy, held = request.strategy, []
    for table in sorted(request.model.tables, key=lambda table: -table.bytes_with_state):
        in_group = any(_matches(table.name, group) for group in strategy.together)
        if in_group or merged_rule(strategy, table).rank is not None:
            held.append(table.name)
    return held


def _free_search(request: PlanRequest, checker: Checker) -> Remedy | None:
    free = STRATEGIES["planner"]
    if request.strategy.name == free.name and not request.strategy.tables:
        return None
    if not checker(request.change(strategy=free)):
        return None
    return Remedy(
        kind="strategy",
        text=f"the strategy {free.name} ({free.description}) instead of {request.strategy.name}",
        how=f"--strategy {free.name}",
        request=request.change(strategy=free),
    )


def _extras(request: PlanRequest, needs: Needs | None) -> Iterator[tuple[list[str], TableRule, str]]:
    """Widening rules to try: for the tables in the way, or for more and more of the largest."""
    for names in _tables_in_the_way(request, needs):
        rules = [rule_of(request.strategy, table) for table in request.model.tables if table.name in names]
        has = {kind for rule in rules for kind in rule.sharding_types or SHARDING_TYPES}
        kernels = {kernel for rule in rules for kernel in rule.compute_kernels or ("fused", "fused_uvm_caching")}
        if "fused" not in kernels:
            yield names, TableRule(compute_kernels=("fused",)), "the kernel fused"
        for kind in _OFFERED:
            if kind not in has:
                yield names, TableRule(sharding_types=(kind,)), kind
                yield (
                    names,
                    TableRule(sharding_types=(kind,), compute_kernels=("fused",)),
                    f"{kind} and the kernel fused",
                )
        if request.hardware.device == "cuda" and "fused_uvm_caching" not in kernels:
            rule = TableRule(compute_kernels=("fused_uvm_caching",), cache_load_factor=_CACHE)
            yield names, rule, f"fused_uvm_caching (host memory, {_CACHE:.0%} of the rows cached)"


def _tables_in_the_way(request: PlanRequest, needs: Needs | None) -> list[list[str]]:
    """Sets of tables to widen the choice for, smallest first."""
    by_size = [table.name for table in sorted(request.model.tables, key=lambda table: -table.bytes_with_state)]
    if needs is None:
        ruled = [name for name in by_size if any(fnmatchcase(name, pattern) for pattern in request.strategy.tables)]
        return [*([ruled] if ruled else []), by_size]
    blocked = [table.spec.name for table in needs.too_large]
    if blocked:
        return [blocked]
    sizes = sorted({1, 2, 4, 8, len(by_size)})
    return [by_size[:count] for count in sizes if count <= len(by_size)]


def _with_rules(request: PlanRequest, names: list[str], extra: TableRule) -> Strategy:
    """The strategy with what each of the tables may take widened by `extra`."""
    tables = dict(request.strategy.tables)
    for table in request.model.tables:
        if table.name in names:
            rule = rule_of(request.strategy, table)
            tables[table.name] = replace(
                rule,
                sharding_types=_union(rule.sharding_types, extra.sharding_types),
                compute_kernels=_union(rule.compute_kernels, extra.compute_kernels),
                cache_load_factor=extra.cache_load_factor or rule.cache_load_factor,
            )
    return replace(request.strategy, tables=tables)


def _union(given: tuple[str, ...] | None, more: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return given if given is None or more is None else tuple(dict.fromkeys((*given, *more)))


def _held_tables(request: PlanRequest) -> list[str]:
    strategy, held = request.strategy, []
    for table in sorted(request.model.tables, key=lambda table: -table.bytes_with_state):
        in_group = any(_matches(table.name, group) for group in strategy.together)
        if in_group or merged_rule(strategy, table).rank is not None:
            held.append(table.name)
    return held


def _growing(names: list[str]) -> Iterator[list[str]]:
    """Each name by itself (the first eight), then the first two, three ... of them."""
    yield from ([name] for name in names[:8])
    yield from (names[:count] for count in range(2, len(names) + 1))


def _freed(request: PlanRequest, names: list[str]) -> Strategy:
    """The strategy with these tables out of their pins and groups; patterns are spelt out, so that the others keep theirs."""
    strategy, tables = request.strategy, {}
    for table in request.model.tables:
        rule = merged_rule(strategy, table)
        tables[table.name] = replace(rule, rank=None) if table.name in names else rule
    groups = [
        tuple(name for name in request.model.names if name not in names and _matches(name, group))
        for group in strategy.together
    ]
    return replace(strategy, tables=tables, together=tuple(group for group in groups if len(group) > 1))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _yaml_tables(strategy: Strategy, names: list[str], shown: int = 8) -> str:
    rules = [f"{name}: {{{_yaml(strategy.tables[name])}}}" for name in names[:shown]]
    return "{" + ", ".join([*rules, *(["..."] if len(names) > shown else [])]) + "}"


def _yaml(rule: TableRule) -> str:
    given = {key: value for key, value in vars(rule).items() if value is not None}
    return ", ".join(f"{key}: {_value(value)}" for key, value in given.items())


def _value(value: object) -> str:
    return "[" + ", ".join(value) + "]" if isinstance(value, tuple) else str(value)
