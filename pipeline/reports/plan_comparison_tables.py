"""The tables of a comparison of plans."""

from pipeline.reports.document import Column, Table, Value
from pipeline.reports.plan_comparison_words import placed_as, table_gaps
from sharding_plans.comparing.comparison import Case, Comparison
from sharding_plans.files.layout import PlanFile

MIB = 2**20
MOST_DIFFERENCES = 30
PARTS = {
    "lookup": "forward_ms",
    "output dist": "output_dist_ms",
    "backward": "backward_ms",
    "gradient dist": "gradient_dist_ms",
    "prefetch": "prefetch_ms",
}
INPUT_DIST = "input_dist_ms"
_TIERS = {
    "peak HBM": "peak_hbm_gib",
    "mean HBM": "mean_hbm_gib",
    "peak DDR": "peak_ddr_gib",
    "mean DDR": "mean_ddr_gib",
}


def step_parts(comparison: Comparison) -> dict[str, str]:
    """The parts that a step adds up from, by name for people: the input dist among them where the cost model is a fitted one.
    A part that no plan has is left out."""
    parts = {"input dist": INPUT_DIST, **PARTS} if is_calibrated(comparison) else PARTS
    return {
        title: key for title, key in parts.items() if any(getattr(case.summary, key) for case in comparison.ranking)
    }


def is_calibrated(comparison: Comparison) -> bool:
    """Whether every plan's times come from a cost model that was fitted to its machine."""
    return all(case.plan is not None and case.plan.calibrated_ms is not None for case in comparison.ranking)


def cost_model(comparison: Comparison) -> str:
    """Whose estimates the times are."""
    if is_calibrated(comparison):
        return "the cost model fitted to the machine"
    some = any(case.plan is not None and case.plan.calibrated_ms is not None for case in comparison.ranking)
    return "TorchRec's cost model" + (", or the fitted one where the hardware is calibrated" if some else "")


def time_table(comparison: Comparison) -> Table:
    """The leaderboard by time: the slowest rank's step and its parts."""
    parts = step_parts(comparison)
    hidden = [] if INPUT_DIST in parts.values() else [Column(title="hidden input dist (ms)", spec=",.2f")]
    columns = [
        Column(title="#"),
        Column(title="plan"),
        Column(title="step (ms)", spec=",.2f"),
        Column(title="M samples/s", spec=",.2f"),
        *_place_columns(comparison),
        *(Column(title=f"{title} (ms)", spec=",.2f") for title in parts),
        Column(title="slowest over mean", spec=".0%"),
        *hidden,
    ]
    return Table(
        columns=columns,
        rows=[
            _time_row(place, case, comparison, list(parts.values()))[: len(columns)]
            for place, case in enumerate(comparison.ranking, start=1)
        ],
        caption=f"Estimated time of the embedding part of a training step on the slowest rank ({cost_model(comparison)})",
        highlighted_rows=(0,),
    )


def memory_table(comparison: Comparison) -> Table:
    """The leaderboard by memory, traffic and price, with the plans that nothing beats marked. An unused tier is left out."""
    tiers = {
        title: key for title, key in _TIERS.items() if any(getattr(case.summary, key) for case in comparison.ranking)
    }
    columns = [
        Column(title="#"),
        Column(title="plan"),
        Column(title="best trade-off"),
        *(Column(title=f"{title} (GiB)", spec=",.2f") for title in tiers),
        Column(title="of what is free", spec=".0%"),
        Column(title="sent a step (MiB)", spec=",.0f"),
        *_place_columns(comparison),
    ]
    if any(_cost(case) is not None for case in comparison.ranking):
        columns.append(Column(title="price per billion samples", spec=",.2f"))
    rows = [
        _memory_row(place, case, comparison, list(tiers.values()))
        for place, case in enumerate(comparison.ranking, start=1)
    ]
    third = " and price" if comparison.has_prices else ""
    return Table(
        columns=columns,
        rows=[row[: len(columns)] for row in rows],
        caption="Estimated memory per rank (TorchRec) and bytes that the busiest rank sends (Shardline). Best trade-off: no "
        f"other plan is as good in time and memory{third} and better in one of them",
        highlighted_rows=(0,),
    )


def costliest_table(plan: PlanFile, count: int = 10) -> Table:
    """The tables that keep a rank busy longest."""
    ordered = sorted(plan.tables, key=lambda table: -table.slowest_ms)[:count]
    rows: list[list[Value]] = [
        [
            table.name,
            table.spec.num_embeddings,
            table.spec.embedding_dim,
            sum(table.spec.pooling_factors),
            placed_as(table),
            table.where,
            table.slowest_ms,
            (table.cost.hbm_bytes + table.cost.ddr_bytes) / MIB,
        ]
        for table in ordered
    ]
    specs = {6: ".3f", 7: ",.1f", 3: "g"}
    titles = (
        "table",
        "rows",
        "width",
        "ids per row",
        "placed",
        "ranks",
        "ms on its busiest rank",
        "MiB over all ranks",
    )
    columns = [Column(title=title, spec=specs.get(i, "")) for i, title in enumerate(titles)]
    return Table(columns=columns, rows=rows, caption=f"The {len(ordered)} costliest tables (estimated)")


def difference_table(winner: Case, second: Case) -> Table:
    """Table by table what the winner does otherwise than the second."""
    assert winner.plan is not None
    assert second.plan is not None
    gaps = [gap for gap in table_gaps(winner.plan, second.plan) if gap.winner.shards != gap.second.shards]
    gaps.sort(key=lambda gap: -abs(gap.gap_ms))
    rows: list[list[Value]] = [
        [
            gap.name,
            placed_as(gap.winner),
            placed_as(gap.second),
            gap.winner.where,
            gap.second.where,
            gap.winner.slowest_ms,
            gap.second.slowest_ms,
            gap.gap_ms,
        ]
        for gap in gaps[:MOST_DIFFERENCES]
    ]
    titles = (
        "table",
        "first",
        "second",
        "ranks, first",
        "ranks, second",
        "ms, first",
        "ms, second",
        "gap on the slowest rank (ms)",
    )
    columns = [
        Column(title=title, spec=("", "", "", "", "", ".3f", ".3f", "+.3f")[i]) for i, title in enumerate(titles)
    ]
    shown = (
        f"the {MOST_DIFFERENCES} largest of {len(gaps)} differences"
        if len(gaps) > MOST_DIFFERENCES
        else "every difference"
    )
    return Table(
        columns=columns,
        rows=rows,
        caption=f"{winner.label} against {second.label}: {shown}. Times are those of the table's busiest rank; the gap is "
        "between the plans' slowest ranks, positive where the second loses",
    )


def fit_table(comparison: Comparison) -> Table:
    """The fewest ranks of each hardware on which the model fits."""
    batch = f"{comparison.batch_sizes[0]:,}" if comparison.batch_sizes else "none"
    kept = f"{comparison.reserved_fraction:.0%}"
    rows: list[list[Value]] = []
    for fit in comparison.smallest_fits:
        counts = [_count(count, fit.tried_up_to) for count in (fit.in_device_memory, fit.with_host_memory)]
        rows.append([fit.hardware, *counts, fit.description])
    titles = ("hardware", "ranks, all in device memory", "ranks, host memory allowed", "what it is")
    return Table(
        columns=[Column(title=title) for title in titles],
        rows=rows,
        caption=f"Fewest ranks with a plan, global batch {batch}, {kept} of memory kept free (estimated)",
    )


def _place_columns(comparison: Comparison) -> list[Column]:
    return [
        Column(title=title) for title in ["cluster"] + (["global batch"] if len(comparison.batch_sizes) > 1 else [])
    ]


def _place_cells(case: Case, comparison: Comparison) -> list[Value]:
    cluster = case.cluster.replace(" ", "\N{NO-BREAK SPACE}")
    return [cluster, *([case.global_batch_size] if len(comparison.batch_sizes) > 1 else [])]


def _time_row(place: int, case: Case, comparison: Comparison, parts: list[str]) -> list[Value]:
    summary = case.summary
    assert summary is not None
    return [
        place,
        case.strategy,
        summary.step_ms,
        summary.samples_per_s / 1e6,
        *_place_cells(case, comparison),
        *(getattr(summary, part) for part in parts),
        1 + summary.imbalance,
        summary.input_dist_ms,
    ]


def _memory_row(place: int, case: Case, comparison: Comparison, tiers: list[str]) -> list[Value]:
    summary = case.summary
    assert summary is not None
    return [
        place,
        case.strategy,
        "yes" if case.key in comparison.pareto else "",
        *(getattr(summary, tier) for tier in tiers),
        summary.memory_share,
        summary.sent_mib,
        *_place_cells(case, comparison),
        summary.cost_per_billion_samples,
    ]


def _cost(case: Case) -> float | None:
    return case.summary.cost_per_billion_samples if case.summary is not None else None


def _count(count: int | None, up_to: int) -> str:
    return f"more than {up_to}" if count is None else str(count)
