"""A plan file as a page of text for the terminal. Light: no torch here."""

from collections.abc import Sequence

from sharding_plans.files.layout import PlanFile, TablePlan
from sharding_plans.files.summary import summarise

GIB, MIB = 2**30, 2**20
MOST_RANKS = 16


def plan_text(plan: PlanFile) -> str:
    """What the plan is for, where its tables lie, what its ranks carry; every figure is an estimate and says so."""
    summary, search = summarise(plan), plan.search
    found = (
        f"; {search.num_plans} of {search.num_proposals} proposals fit, {search.seconds:.1f} s"
        if search.num_plans
        else ""
    )
    capacity = "fits" if plan.fits else "DOES NOT FIT"
    return "\n".join(
        [
            f"{plan.strategy.name} on {plan.num_ranks} x {plan.hardware.name}, {plan.global_batch_size:,} rows a step "
            f"({plan.local_batch_size:,} a rank{found})",
            "",
            *_aligned(_TABLE_HEAD, [_table_row(table) for table in plan.tables], left=(0, 3, 4, 5)),
            "",
            *_aligned(_RANK_HEAD, _rank_rows(plan), left=()),
            "",
            f"slowest rank {summary.step_ms:.3f} ms, {summary.samples_per_s:,.0f} samples/s from the embedding part; "
            f"fullest rank {summary.memory_share:.0%} of the {summary.capacity_gib:,.2f} GiB free for tables: {capacity}",
            _origin(plan),
        ]
    )


def _origin(plan: PlanFile) -> str:
    if plan.calibrated_ms is None:
        return "Memory and time are estimates of TorchRec's cost model."
    return (
        "Memory is TorchRec's estimate; time that of the cost model fitted to this hardware, for all ranks together, input dist "
        "included (the ranks' and tables' own columns leave out what a plan pays once)."
    )


_TABLE_HEAD = ("table", "rows", "dim", "sharding type", "kernel", "ranks", "MiB", "ms")
_RANK_HEAD = ("rank", "shards", "HBM GiB", "DDR GiB", "ms")


def _table_row(table: TablePlan) -> tuple[str, ...]:
    cost = table.cost
    return (
        table.name,
        f"{table.spec.num_embeddings:,}",
        str(table.spec.embedding_dim),
        table.sharding_type,
        table.compute_kernel,
        table.where,
        f"{(cost.hbm_bytes + cost.ddr_bytes) / MIB:,.1f}",
        f"{table.slowest_ms:.3f}",
    )


def _rank_rows(plan: PlanFile) -> list[tuple[str, ...]]:
    """All ranks, or the slowest where there are many."""
    ranks = sorted(range(plan.num_ranks), key=lambda rank: -plan.rank_costs[rank].step_ms)[:MOST_RANKS]
    held = [0] * plan.num_ranks
    for table in plan.tables:
        for shard in table.shards:
            held[shard.rank] += shard.area > 0
    rows = []
    for rank in sorted(ranks):
        cost = plan.rank_costs[rank]
        memory = (f"{cost.hbm_bytes / GIB:,.3f}", f"{cost.ddr_bytes / GIB:,.3f}")
        rows.append((str(rank), str(held[rank]), *memory, f"{cost.step_ms:.3f}"))
    if plan.num_ranks > MOST_RANKS:
        rows.append(("...", f"{plan.num_ranks - MOST_RANKS} faster ranks", "", "", ""))
    return rows


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: tuple[int, ...]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
