"""What would make a request feasible: changes, smallest first, each tried by planning again.

Changes are ordered by how much of the user's work they touch: the search (which types and kernels a table may take, pins), the
memory kept free, the batch, the machines, and last the model. Within a kind the smallest change that works is found.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from data.errors import PlanError
from sharding_plans.explaining.feasibility import Checker
from sharding_plans.explaining.needs import Needs, table_needs
from sharding_plans.explaining.remedy_rules import Remedy, other_ways, without_pins
from sharding_plans.machines.hardware import HardwareProfile, profile_names, shipped_profile
from sharding_plans.machines.profile_topology import usable_rank_counts
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from sharding_plans.tables.table_specs import ModelTables

LEAST_RESERVED = 0.05
MOST_RANKS = 1024
_OPTIMIZERS_BY_STATE = ("adam", "adagrad", "row_wise_adagrad", "sgd")

Finder = Callable[[PlanRequest, Needs | None, Checker], Remedy | None]


@dataclass(frozen=True)
class Found:
    """The remedies of one search and the number of plans that it took to verify them."""

    remedies: tuple[Remedy, ...]
    num_planned: int


def find_remedies(request: PlanRequest, needs: Needs | None, *, limit: int | None = None) -> Found:
    """Changes after which the request has a plan, smallest first, `limit` of them at most; every one was planned.

    `needs` is what `table_needs` found for the request, or None where it found a table without any way.
    """
    checker = Checker()
    found = list(islice(_search(request, needs, checker), limit))
    return Found(tuple(found or islice(_pairs(request, checker), limit)), checker.num_planned)


def _search(request: PlanRequest, needs: Needs | None, checker: Checker) -> Iterator[Remedy]:
    for find in _FINDERS:
        remedy = find(request, needs, checker)
        if remedy is not None:
            yield remedy


def _pairs(request: PlanRequest, checker: Checker) -> Iterator[Remedy]:
    """Two changes together, for a request that no single change helps: a first one that only loosens, then a second."""
    for text, how, loosened in _loosened(request):
        try:
            needs = table_needs(loosened)
        except PlanError:
            continue
        found = False
        for second in _search(loosened, needs, checker):
            found = True
            yield replace(second, text=f"{text} and {second.text}", how=f"{how}; {second.how}")
        if found:
            return


def _loosened(request: PlanRequest) -> Iterator[tuple[str, str, PlanRequest]]:
    """First changes, in words, as options, and made: a free search, then also a small batch."""
    if request.strategy.name != "planner":
        request = request.change(strategy=STRATEGIES["planner"])
        yield "the strategy planner", "--strategy planner", request
    small = max(request.num_ranks, request.global_batch_size // 16)
    yield (
        f"the strategy planner with a global batch of {small:,} rows",
        f"--strategy planner --global_batch_size {small}",
        request.change(global_batch_size=small),
    )


def _less_reserved(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """The most that can stay reserved, in whole per cent, down to 5 %."""
    now = round(request.reserved_fraction * 100)
    best = _largest(round(LEAST_RESERVED * 100), now - 1, lambda p: checker(request.change(reserved_fraction=p / 100)))
    if best is None:
        return None
    return Remedy(
        kind="reservation",
        text=f"keep {best} % of each rank's memory free instead of {now} %",
        how=f"--reserved_fraction {best / 100}",
        request=request.change(reserved_fraction=best / 100),
    )


def _smaller_batch(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """The largest halving of the global batch that fits."""
    sizes = [request.global_batch_size >> k for k in range(1, 40)]
    sizes = [size for size in sizes if size >= request.num_ranks]
    if not sizes or not checker(request.change(global_batch_size=sizes[-1])):
        return None
    size = next(size for size in sizes if checker(request.change(global_batch_size=size)))
    return Remedy(
        kind="batch",
        text=f"a global batch of {size:,} rows instead of {request.global_batch_size:,}",
        how=f"--global_batch_size {size}",
        request=request.change(global_batch_size=size),
    )


def _more_ranks(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """The fewest ranks, in whole hosts, on which the same global batch fits."""
    most = min(MOST_RANKS, max(64, 8 * request.num_ranks), request.global_batch_size)
    counts = [count for count in usable_rank_counts(request.hardware, most) if count > request.num_ranks]
    if needs is not None:
        least = _least_ranks(needs)
        counts = [count for count in counts if count >= least]
    for count in counts:
        if checker(request.change(num_ranks=count)):
            hosts = -(-count // request.hardware.ranks_per_host)
            return Remedy(
                kind="ranks",
                text=f"{count} ranks instead of {request.num_ranks} ({hosts} host{'s' if hosts > 1 else ''})",
                how=f"--ranks {count}",
                request=request.change(num_ranks=count),
            )
    return None


def _least_ranks(needs: Needs) -> float:
    """Fewer ranks than this cannot hold the weights and optimizer state even if nothing else were there."""
    held = sum(table.spec.bytes_with_state for table in needs.tables)
    return held / sum(needs.room) if sum(needs.room) else float("inf")


def _more_host_memory(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    now = request.hardware.host_memory_gib
    with_memory = lambda gib: request.change(hardware=replace(request.hardware, host_memory_gib=gib))  # noqa: E731
    least = _smallest_growth(now, lambda gib: checker(with_memory(gib)))
    if least is None:
        return None
    return Remedy(
        kind="host_memory",
        text=f"{least:g} GiB of memory a host instead of {now:g}",
        how=f"host_memory_gib: {least:g} in a hardware profile of your own",
        request=with_memory(least),
    )


def _larger_hardware(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """The GPU with least memory, of those with a profile, on which as many ranks have a plan."""
    if request.hardware.device == "cpu":
        return None
    known = sorted(
        (shipped_profile(name) for name in profile_names()), key=lambda profile: (profile.hbm_gib, profile.name)
    )
    for profile in known:
        if profile.hbm_gib > request.hardware.hbm_gib and checker(request.change(hardware=profile)):
            return _hardware_remedy(request, profile)
    return None


def _hardware_remedy(request: PlanRequest, profile: HardwareProfile) -> Remedy:
    sizes = f"{profile.hbm_gib:g} GiB a GPU, {profile.host_memory_gib:,g} GiB a host"
    return Remedy(
        kind="hardware",
        text=f"{request.num_ranks} x {profile.name} ({sizes}) instead of {request.hardware.name}",
        how=f"--hardware {profile.name}",
        request=request.change(hardware=profile),
    )


def _lighter_optimizer(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """The next optimizer that keeps less beside the weights."""
    now = request.model.tables[0].optimizer
    if now not in _OPTIMIZERS_BY_STATE:
        return None
    for name in _OPTIMIZERS_BY_STATE[_OPTIMIZERS_BY_STATE.index(now) + 1 :]:
        model = request.model.replace_tables(request.model.names, optimizer=name, weight_decay=0.0)
        if checker(request.change(model=model)):
            return Remedy(
                kind="optimizer",
                text=f"{name} instead of {now} for the tables (less state beside each weight; another training)",
                how=f"--optimizer.sparse.algorithm {name}",
                request=request.change(model=model),
            )
    return None


def _half_precision(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """fp16 for as few tables as suffice, the largest first."""
    full = sorted((t for t in request.model.tables if t.data_type == "fp32"), key=lambda table: -table.weight_bytes)
    change = lambda n: request.model.replace_tables([t.name for t in full[:n]], data_type="fp16")  # noqa: E731
    fewest = _smallest(1, len(full), lambda n: checker(request.change(model=change(n))))
    if fewest is None:
        return None
    names = [table.name for table in full[:fewest]]
    return Remedy(
        kind="dtype",
        text=f"fp16 instead of fp32 for {_listed(names)}",
        how="data_type=DataType.FP16 in the configuration of these tables",
        request=request.change(model=change(fewest)),
    )


def _narrower_tables(request: PlanRequest, needs: Needs | None, checker: Checker) -> Remedy | None:
    """The widest tables that fit, all narrowed by the same factor, in multiples of 4 columns."""
    widest = max(table.embedding_dim for table in request.model.tables)
    best = _largest(
        1, widest // 4 - 1, lambda quarter: checker(request.change(model=_narrowed(request.model, quarter * 4)))
    )
    if best is None:
        return None
    model = _narrowed(request.model, best * 4)
    return Remedy(
        kind="dim",
        text=f"embedding dimension {best * 4} instead of {widest}"
        + ("" if _is_uniform(request.model) else ", others in step"),
        how=f"--model.embedding_dim {best * 4}",
        request=request.change(model=model),
    )


def _narrowed(model: ModelTables, widest: int) -> ModelTables:
    factor = widest / max(table.embedding_dim for table in model.tables)
    tables = [replace(t, embedding_dim=max(4, round(t.embedding_dim * factor / 4) * 4)) for t in model.tables]
    return replace(model, tables=tuple(tables))


def _is_uniform(model: ModelTables) -> bool:
    return len({table.embedding_dim for table in model.tables}) == 1


def _largest(low: int, high: int, works: Callable[[int], bool]) -> int | None:
    """The largest number in [low, high] that works, if what works for one works for all below."""
    if high < low or not works(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if works(middle) else (low, middle - 1)
    return low


def _smallest(low: int, high: int, works: Callable[[int], bool]) -> int | None:
    """The smallest number in [low, high] that works, if what works for one works for all above."""
    if high < low or not works(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle + 1, high)
    return high


def _smallest_growth(now: float, works: Callable[[float], bool]) -> float | None:
    """The least GiB above `now` that work, to within 3 % and in round figures, up to 64 times as much."""
    high = next((now * 2**k for k in range(1, 7) if works(now * 2**k)), None)
    if high is None:
        return None
    low = high / 2
    while high - low > 0.03 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if works(middle) else (middle, high)
    rounded = float(math.ceil(high)) if high >= 8 else math.ceil(high * 1000) / 1000
    return rounded if works(rounded) else high


def _listed(names: list[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ("table " if len(names) == 1 else "tables ") + ", ".join(names[:shown]) + more


_FINDERS: tuple[Finder, ...] = (
    without_pins,
    other_ways,
    _less_reserved,
    _smaller_batch,
    _more_ranks,
    _more_host_memory,
    _larger_hardware,
    _lighter_optimizer,
    _half_precision,
    _narrower_tables,
)
