"""The report of plans that were measured on live ranks."""

from collections.abc import Sequence

from pipeline.reports.charts import stacked_bars
from pipeline.reports.document import Card, Column, Figure, Note, Report, Section, Table
from pipeline.reports.figures import figure_svg, legend_above, new_figure
from pipeline.reports.plan_truth import truth_section
from pipeline.reports.provenance import environment_facts
from sharding_plans.comparing.truth import Truth
from sharding_plans.measuring.measurement import PARTS, Measurement, measurement_to_dict

MIB = 2**20


def measurements_report(
    measured: Sequence[Measurement], truths: Sequence[Truth], facts: dict[str, str], problems: Sequence[str] = ()
) -> Report:
    """The whole report: estimated beside measured, where each step goes, what ranks send and hold, what measuring adds."""
    fastest = min(measured, key=lambda each: each.step_p50_ms)
    sections = [
        truth_section(truths),
        Section(title="Where a step goes", blocks=[parts_figure(measured), _steps_table(measured)]),
        Section(title="Rank by rank", blocks=[_ranks_table(measured)]),
    ]
    if problems:
        sections.append(Section(title="The ledger", blocks=[Note(problem, "warning") for problem in problems]))
    return Report(
        title="Sharding plans measured",
        subtitle=f"{len(measured)} plans on {fastest.num_ranks} ranks, {fastest.num_steps} steps each; "
        f"global batch {fastest.global_batch_size:,}.",
        cards=[
            Card(label="Fastest plan", value=fastest.plan_name, note=f"{fastest.step_p50_ms:.2f} ms a step, measured"),
            Card(
                label="Its embedding part",
                value=f"{fastest.embedding_ms:.2f} ms",
                note="ranks starting each part together",
            ),
            Card(label="Measuring adds", value=f"{_overhead(measured):.0%}", note="to a step that is cut into parts"),
        ],
        sections=sections,
        provenance=facts | {"Measured": fastest.created} | environment_facts(),
        results={"measurements": [measurement_to_dict(each) for each in measured]},
    )


def parts_figure(measured: Sequence[Measurement]) -> Figure:
    """One bar per plan: its measured step by part."""
    figure, axes = new_figure(wide=True, height=330)
    series = {name: [each.slowest_ms[part] for each in measured] for part, name in PARTS.items()}
    shown = {
        name: values
        for name, values in series.items()
        if max(values) > 0.02 * max(map(sum, zip(*series.values(), strict=True)))
    }
    stacked_bars(axes, [str(i) for i in range(1, len(measured) + 1)], shown)
    axes.set_ylabel("ms per step, slowest rank")
    legend_above(axes, columns=4)
    return Figure(
        name="measured-parts",
        svg=figure_svg(figure, "measured-parts"),
        alt="; ".join(f"{each.plan_name}: {each.embedding_ms:.2f} ms in the embedding part" for each in measured),
        caption="Measured step by part, ranks starting each part together; numbers are those of the table below",
        wide=True,
        data={"plans": [each.plan_name for each in measured], **series},
    )


def _overhead(measured: Sequence[Measurement]) -> float:
    return sum(each.overhead for each in measured) / len(measured)


def _steps_table(measured: Sequence[Measurement]) -> Table:
    columns = [
        Column(title="#"),
        Column(title="plan"),
        Column(title="step p50", spec=",.1f"),
        Column(title="step p90", spec=",.1f"),
        *(Column(title=name, spec=",.1f") for name in PARTS.values()),
        Column(title="cut step", spec=",.1f"),
        Column(title="adds", spec="+.0%"),
    ]
    rows = [
        [
            place,
            each.plan_name,
            each.step_p50_ms,
            each.step_p90_ms,
            *(each.slowest_ms[part] for part in PARTS),
            each.parted_step_ms,
            each.overhead,
        ]
        for place, each in enumerate(measured, start=1)
    ]
    return Table(
        columns=columns,
        rows=rows,
        caption="Measured, in ms. Steps are whole and uncut, as an ordinary training loop does them; parts are of steps that were"
        " cut, and what cutting and waiting adds is in the last column",
    )


def _ranks_table(measured: Sequence[Measurement]) -> Table:
    columns = [
        Column(title="plan"),
        Column(title="rank"),
        Column(title="step p50 (ms)", spec=",.2f"),
        Column(title="waiting (ms)", spec=",.2f"),
        Column(title="sent (MiB)", spec=",.2f"),
        Column(title="received (MiB)", spec=",.2f"),
        Column(title="tables (MiB)", spec=",.1f"),
        Column(title="optimizer state (MiB)", spec=",.1f"),
        Column(title="process, peak (MiB)", spec=",.0f"),
    ]
    rows = [
        [
            each.plan_name,
            rank.rank,
            rank.step_p50_ms,
            rank.waiting_ms,
            rank.sent_bytes / MIB,
            rank.received_bytes / MIB,
            rank.table_bytes / MIB,
            rank.state_bytes / MIB,
            rank.process_peak_bytes / MIB,
        ]
        for each in measured
        for rank in each.ranks
    ]
    return Table(columns=columns, rows=rows, caption="Measured. Bytes are those of one step, as ideal transfers")
