"""The page about a recorded step: by part of the model, by kind of work, by operator."""

from pathlib import Path

from pipeline.profiling.parts import PYTHON, PartTime, StepParts
from pipeline.reports.charts import stacked_bars
from pipeline.reports.document import Card, Figure, Prose, Report, Section, table
from pipeline.reports.figures import figure_svg, legend_above, new_figure, style
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import write_report

NUM_OPERATORS = 12


def write_page(directory: Path, name: str, parts: StepParts, num_rows: int) -> Path:
    """profile.html with its .md and .json twins, about a step of `num_rows` rows on rank 0; its path."""
    return write_report(directory, profile_report(name, parts, num_rows), name="profile")


def profile_report(name: str, parts: StepParts, num_rows: int) -> Report:
    last = parts.first_step + parts.num_steps
    between = parts.kinds.get(PYTHON, 0.0)
    return Report(
        title=f"Profile of {name}",
        subtitle=f"Steps {parts.first_step + 1:,} to {last:,}, {num_rows:,} rows a step, measured on rank 0",
        cards=[
            Card(label="Milliseconds a step", value=f"{parts.step_ms:.2f}", note="with the profiler's own cost"),
            Card(label="Between operators", value=f"{between / parts.step_ms:.0%}", note="Python, autograd, the loop"),
        ],
        sections=[
            Section(title="By part of the model", blocks=[_parts_figure(parts), _parts_table(parts)]),
            Section(title="By kind of work", blocks=[_kinds_table(parts)]),
            Section(title="By operator", blocks=[_operators_table(parts), Prose(_HOW_TO_READ)]),
        ],
        provenance=environment_facts(),
        results={
            "step_ms": parts.step_ms,
            "parts_ms": {part: vars(time) for part, time in parts.parts.items()},
            "kinds_ms": parts.kinds,
        },
    )


_HOW_TO_READ = (
    "The traces beside this page, `rank0.trace.json` and so on, show every operator in time: open them at "
    "https://ui.perfetto.dev or in `chrome://tracing`. Recording costs some microseconds an operator, so steps of many small "
    "operators look slower here than they are; the rows a second of the run's own log are measured without it."
)


def _in_order(parts: StepParts) -> list[tuple[str, PartTime]]:
    return sorted(parts.parts.items(), key=lambda item: -item[1].total)


def _parts_figure(parts: StepParts) -> Figure:
    items = _in_order(parts)
    series = {
        "forward": [time.forward for _, time in items],
        "backward": [time.backward for _, time in items],
        "optimizer": [time.optimizer for _, time in items],
    }
    figure, axes = new_figure(wide=True)
    stacked_bars(axes, [part.replace(" ", "\n", 1) for part, _ in items], series)
    with style():
        axes.set_ylabel("ms a step")
    legend_above(axes)
    top, time = items[0]
    return Figure(
        name="parts",
        svg=figure_svg(figure, "parts"),
        alt=f"Most of a step's {parts.step_ms:.2f} ms go to {top}: {time.total:.2f} ms.",
        caption="Milliseconds a step by part; tables are updated in their backward pass",
        wide=True,
        data={"part": [part for part, _ in items], **series},
    )


def _parts_table(parts: StepParts):
    titles = ["part", "forward ms", "backward ms", "optimizer ms", "sum ms", "share", "of which between operators ms"]
    rows = [
        [part, time.forward, time.backward, time.optimizer, time.total, time.total / parts.step_ms, time.python]
        for part, time in _in_order(parts)
    ]
    if any(time.device for time in parts.parts.values()):
        titles.append("GPU kernels ms")
        rows = [[*row, time.device] for row, (_, time) in zip(rows, _in_order(parts), strict=True)]
    specs = {title: ".1%" if title == "share" else ".3f" for title in titles[1:]}
    return table(titles, rows, specs=specs, caption="Milliseconds of the host, averaged over the recorded steps")


def _kinds_table(parts: StepParts):
    rows = [[kind, ms, ms / parts.step_ms] for kind, ms in sorted(parts.kinds.items(), key=lambda item: -item[1])]
    return table(["kind of work", "ms", "share"], rows, specs={"ms": ".3f", "share": ".1%"})


def _operators_table(parts: StepParts):
    longest = sorted(parts.operators.items(), key=lambda item: -item[1].ms)[:NUM_OPERATORS]
    rows = [[f"`{name}`", time.calls, time.ms, time.ms / parts.step_ms] for name, time in longest]
    return table(
        ["operator", "calls a step", "ms", "share"],
        rows,
        specs={"calls a step": ".1f", "ms": ".3f", "share": ".1%"},
        caption="The operators that take longest, what they call left out",
    )
