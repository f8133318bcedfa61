"""The verdict of a comparison of plans in plain words: who comes first, by how much, because of which tables, how sure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharding_plans.comparing.comparison import TIE, Case, Comparison, Failure
from sharding_plans.files.layout import PlanFile, TablePlan

_PARTS = {
    "forward_ms": "the lookup",
    "output_dist_ms": "sending pooled embeddings back",
    "backward_ms": "the backward pass into the tables",
    "gradient_dist_ms": "sending gradients",
    "prefetch_ms": "prefetching from host memory",
}


@dataclass(frozen=True, kw_only=True)
class TableGap:
    """How much longer a table keeps the second plan's slowest rank busy than the winner's, in ms."""

    name: str
    winner: TablePlan
    second: TablePlan
    gap_ms: float


def verdict(comparison: Comparison) -> str:
    """One paragraph on the winner, one on why, one on how sure one can be."""
    winner, second = comparison.winner, comparison.second
    if winner is None:
        count = len(comparison.cases)
        return f"**None of the {count} plans fits.** What is in the way of each, and what would help, stands below."
    paragraphs = [_who(comparison, winner, second)]
    if second is not None:
        paragraphs.append(_why(winner, second))
    return "\n\n".join([*paragraphs, how_sure(comparison)])


def how_sure(comparison: Comparison) -> str:
    """What the figures are worth."""
    winner, second = comparison.winner, comparison.second
    gap = ""
    if winner is not None and second is not None:
        gap = f" The gap here is {_slower(winner, second):.1%}: " + (
            "take the two for equals and measure both."
            if _is_tie(winner, second)
            else "large enough to act on, then measure."
        )
    if winner is not None and winner.plan is not None and winner.plan.calibrated_ms is not None:
        return (
            "**How sure?** These are estimates of a cost model that was fitted to this machine, input dist included. It still"
            f" adds up the parts of a step as if nothing overlapped.{gap}"
        )
    return (
        "**How sure?** These are estimates of TorchRec's cost model from data-sheet figures. It adds up the parts of a step as if"
        " nothing overlapped, takes every id as equally likely and knows no latency, so it is better at ranking plans of one"
        f" cluster than at telling milliseconds. As a rule of thumb, gaps below {TIE:.0%} say nothing.{gap}"
    )


def failures_in_words(cases: Sequence[Case]) -> str:
    """A paragraph for each reason: which plans it stops, what is short, because of which tables, what would help."""
    groups: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        groups.setdefault((case.cluster, _reason(case.failure)), []).append(case.strategy)
    return "\n\n".join(f"**{', '.join(names)} on {cluster}.** {reason}" for (cluster, reason), names in groups.items())


def table_gaps(winner: PlanFile, second: PlanFile) -> list[TableGap]:
    """The tables by how much more time they take on the second plan's slowest rank; the gaps add up to that of the plans."""
    mine, theirs = _ms_on_slowest(winner), _ms_on_slowest(second)
    gaps = []
    for table in winner.tables:
        other = second.table(table.name)
        if other is not None:
            gaps.append(
                TableGap(name=table.name, winner=table, second=other, gap_ms=theirs[table.name] - mine[table.name])
            )
    return sorted(gaps, key=lambda gap: -gap.gap_ms)


def placed_as(table: TablePlan) -> str:
    """A table's sharding type, with the kernel where that is not the usual one."""
    usual = "dense" if table.sharding_type == "data_parallel" else "fused"
    return table.sharding_type if table.compute_kernel == usual else f"{table.sharding_type} ({table.compute_kernel})"


def memory_text(gib: float) -> str:
    """Memory for people: GiB, or MiB where that would be next to nothing."""
    return f"{gib:,.1f} GiB" if gib >= 0.5 else f"{1024 * gib:,.0f} MiB"


def millions(samples_per_s: float) -> str:
    """Samples a second as people say it."""
    return f"{samples_per_s / 1e6:,.1f} M" if samples_per_s >= 1e6 else f"{samples_per_s / 1e3:,.1f} k"


def _reason(failure: Failure | None) -> str:
    if failure is None:
        return "The plan does not fit."
    if failure.tier is None and not failure.remedies:
        return failure.headline
    short = {"hbm": "GPU memory is short", "ddr": "Host memory is short"}.get(
        failure.tier or "", "The strategy leaves no way"
    )
    names = failure.binding_tables
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    tables = f"; in the way: {', '.join(f'`{name}`' for name in names[:4])}{more}" if names else ""
    listed = "; ".join(f"({i}) {text}" for i, (text, _) in enumerate(failure.remedies, start=1))
    return f"{short}{tables}. What would help, the smallest change first: {listed or 'nothing that was tried'}."


def _who(comparison: Comparison, winner: Case, second: Case | None) -> str:
    assert winner.summary is not None
    memory = winner.summary.peak_hbm_gib + winner.summary.peak_ddr_gib
    text = (
        f"**{winner.label} comes first**: {winner.summary.step_ms:.2f} ms a step on its slowest rank, so"
        f" {millions(winner.summary.samples_per_s)} samples/s from the embedding part alone (global batch"
        f" {winner.global_batch_size:,}), with at most {memory_text(memory)} a rank."
    )
    same = [case.strategy for case in comparison.ranking[1:] if _equals(case, winner)]
    if same:
        text += f" {' and '.join(same)} found the same plan."
    if second is None or second.summary is None:
        return text + " No other plan fits."
    how = "equally fast" if _slower(winner, second) < 0.0005 else f"{_slower(winner, second):.1%} slower"
    return text + f" Second is **{second.label}**, {how} at {second.summary.step_ms:.2f} ms."


def _why(winner: Case, second: Case) -> str:
    assert winner.plan is not None
    assert second.plan is not None
    assert winner.summary is not None
    assert second.summary is not None
    gaps = {part: getattr(second.summary, part) - getattr(winner.summary, part) for part in _PARTS}
    part = max(gaps, key=lambda key: gaps[key])
    text = f"**Why?** The two differ most in {_PARTS[part]}: {getattr(winner.summary, part):.2f} ms against"
    text += f" {getattr(second.summary, part):.2f} ms on the slowest rank."
    if winner.cluster != second.cluster:
        return (
            text + f" They run on different machines ({winner.cluster}, {second.cluster}), which explains most of it."
        )
    costly = [gap for gap in table_gaps(winner.plan, second.plan) if gap.gap_ms > 0.005 * winner.summary.step_ms][:3]
    if not costly:
        return text + " No single table stands out."
    text += " Tables that cost the second plan most: " + "; ".join(_told(gap) for gap in costly) + "."
    lost, whole = sum(gap.gap_ms for gap in costly), second.summary.step_ms - winner.summary.step_ms
    return text + (f" Others win {lost - whole:.2f} ms of that back." if lost - whole > 0.2 * lost else "")


def _told(gap: TableGap) -> str:
    theirs, mine = placed_as(gap.second), placed_as(gap.winner)
    how = f"{theirs} instead of {mine}" if theirs != mine else f"{theirs} in both, but on other ranks"
    return f"`{gap.name}` (+{gap.gap_ms:.2f} ms, {how})"


def _ms_on_slowest(plan: PlanFile) -> dict[str, float]:
    slowest = plan.slowest_rank
    return {t.name: sum(shard.cost.step_ms for shard in t.shards if shard.rank == slowest) for t in plan.tables}


def _slower(winner: Case, second: Case) -> float:
    assert winner.summary is not None
    assert second.summary is not None
    return winner.summary.samples_per_s / second.summary.samples_per_s - 1


def _is_tie(winner: Case, second: Case) -> bool:
    return _slower(winner, second) < TIE


def _equals(case: Case, winner: Case) -> bool:
    if case.plan is None or winner.plan is None or case.cluster != winner.cluster:
        return False
    return case.plan.fingerprint == winner.plan.fingerprint
