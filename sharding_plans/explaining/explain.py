"""Why there is no plan, in bytes, and what would help."""

from dataclasses import dataclass

from data.errors import PlanError
from sharding_plans.explaining.needs import TIERS, Needs, TableNeed, table_needs
from sharding_plans.explaining.remedies import find_remedies
from sharding_plans.explaining.remedy_rules import Remedy, held_tables
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.planning.offline import Budget
from sharding_plans.planning.request import DENSE_COPIES, PlanRequest

GIB = 2**30
_TIER_NAMES = {"hbm": "GPU memory (HBM)", "ddr": "Host memory (DDR)"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a request has no plan, and verified changes after which it has one."""

    request: PlanRequest
    headline: str
    """One sentence: what is in the way."""
    tier: str | None
    """The memory that is short, "hbm" or "ddr"; None where memory is not the reason."""
    binding_tables: tuple[str, ...]
    """The tables in the way, largest first."""
    budget: tuple[tuple[str, float], ...]
    """Where the memory goes: label and bytes."""
    remedies: tuple[Remedy, ...]
    num_planned: int
    planner_said: str

    def __str__(self) -> str:
        return "\n".join([self.headline, *self._budget_lines(), *self._remedy_lines()])

    def _budget_lines(self) -> list[str]:
        if not self.budget:
            return []
        width = max(len(label) for label, _ in self.budget)
        return ["", *(f"  {label:<{width}}  {size / GIB:10,.2f} GiB" for label, size in self.budget)]

    def _remedy_lines(self) -> list[str]:
        if not self.remedies:
            return [
                "",
                f"No change that was tried, alone or with another, gives a plan ({self.num_planned} requests were tried).",
            ]
        lines = [f"  {i}. {remedy.text}\n     {remedy.how}" for i, remedy in enumerate(self.remedies, start=1)]
        return [
            "",
            "Each of these gives a plan, the smallest change first (verified by planning again):",
            *lines,
        ]


def explain(request: PlanRequest, error: PlanError, *, max_remedies: int | None = None) -> Explanation:
    """What is in the way of a request for which planning raised `error`, and verified remedies."""
    try:
        needs = table_needs(request)
    except InfeasiblePlan as no_way:
        return _no_way(request, no_way, error, max_remedies)
    headline, tier, binding = _diagnosis(request, needs)
    found = find_remedies(request, needs, limit=max_remedies)
    return Explanation(
        request=request,
        headline=headline,
        tier=tier,
        binding_tables=tuple(table.spec.name for table in binding),
        budget=_budget(needs, tier or needs.budget.tier),
        remedies=found.remedies,
        num_planned=found.num_planned,
        planner_said=str(error),
    )


class ExplainedPlanError(InfeasiblePlan):
    """No plan, and why: the message is the whole explanation."""

    def __init__(self, explanation: Explanation) -> None:
        super().__init__(str(explanation))
        self.explanation = explanation


def _no_way(request: PlanRequest, no_way: InfeasiblePlan, error: PlanError, limit: int | None) -> Explanation:
    found = find_remedies(request, None, limit=limit)
    tables = tuple(table.name for table in request.model.tables if f"for {table.name}." in str(no_way))
    reason = str(no_way).split(" Module: ")[0].strip()
    if tables:
        device = request.hardware.device
        reason = f"The {device} device has no sharding type with a kernel that the strategy leaves open to table {tables[0]}."
    return Explanation(
        request=request,
        headline=f"No plan for {request.label}. {reason}",
        tier=None,
        binding_tables=tables,
        budget=(),
        remedies=found.remedies,
        num_planned=found.num_planned,
        planner_said=str(error),
    )


def _diagnosis(request: PlanRequest, needs: Needs) -> tuple[str, str | None, tuple[TableNeed, ...]]:
    """The headline, the tier that is short and the tables in the way."""
    start = f"No plan for {request.label} ({request.local_batch_size:,} rows per rank and step)."
    if needs.too_large:
        first = needs.too_large[0]
        tier, needed = needs.closest(first)
        more = len(needs.too_large) - 1
        others = f" (too little for {more} other table{'s' if more > 1 else ''} as well)" if more else ""
        text = (
            f"{_TIER_NAMES[TIERS[tier]]} is short: table {first.spec.name} needs {_gib(needed)} on one rank at the "
            f"least, as the strategy lets it be split, and {_gib(needs.room[tier])} is free for tables{others}."
        )
        return f"{start} {text}", TIERS[tier], needs.too_large
    if needs.short_tier is not None:
        tier = needs.short_tier
        needed = sum(table.least_total(tier) for table in needs.tables)
        text = (
            f"{_TIER_NAMES[TIERS[tier]]} is short: all tables together need {_gib(needed)} at the least, and {needs.num_ranks} "
            f"rank{'s have' if needs.num_ranks > 1 else ' has'} {_gib(needs.num_ranks * needs.room[tier])} free for tables."
        )
        return f"{start} {text}", TIERS[tier], _largest_first(needs)[:5]
    held = held_tables(request)
    if held:
        text = f"The tables fit by size, but not where the strategy ties them: {', '.join(held)}."
        return f"{start} {text}", needs.budget.tier, tuple(t for t in needs.tables if t.spec.name in held)
    text = (
        "The tables fit by size, but no placement that the planner tried leaves every rank within its memory: shards are too "
        "large for the gaps that remain."
    )
    return f"{start} {text}", needs.budget.tier, _largest_first(needs)[:5]


def _largest_first(needs: Needs) -> tuple[TableNeed, ...]:
    return tuple(sorted(needs.tables, key=lambda table: -table.spec.bytes_with_state))


def _budget(needs: Needs, tier: str) -> tuple[tuple[str, float], ...]:
    """Where one rank's memory goes, and what all tables need over all ranks."""
    index = TIERS.index(tier)
    least = sum(min(sum(way.total) for way in table.ways) for table in needs.tables)
    weights = sum(table.spec.weight_bytes for table in needs.tables)
    state = sum(table.spec.bytes_with_state for table in needs.tables) - weights
    lines = (
        _rank_lines(needs.budget) if tier == needs.budget.tier else [("one rank's share of host memory", needs.room[1])]
    )
    room = needs.num_ranks * needs.room[index]
    return (
        *lines,
        (f"free for tables on {needs.num_ranks} rank{'s' if needs.num_ranks > 1 else ''}", room),
        ("tables: weights", weights),
        ("tables: optimizer state", state),
        ("tables: input and output buffers, copies", max(0.0, least - weights - state)),
        ("tables: at the least, over all ranks", least),
    )


def _rank_lines(budget: Budget) -> list[tuple[str, float]]:
    return [
        ("one rank: capacity", budget.capacity),
        ("one rank: kept free (reserved_fraction)", -budget.reserved),
        (f"one rank: dense part ({DENSE_COPIES} x its weights)", -budget.dense),
        ("one rank: batches in flight", -budget.batches),
        ("one rank: free for tables", budget.available),
    ]


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:,.2f} GiB"
