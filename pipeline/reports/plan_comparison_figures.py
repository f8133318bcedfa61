"""The drawings of a comparison of plans: where each plan's step goes, and time against memory."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.reports.document import Figure
from pipeline.reports.figures import INK, PALETTE, figure_svg, legend_above, new_figure, plain_ticks, style
from pipeline.reports.plan_comparison_tables import cost_model, step_parts
from sharding_plans.comparing.comparison import Case, Comparison

MOST_BARS = 16
SLOWEST_DRAWN = 8.0
_TOUCHING = (0.03, 0.06)


def step_figure(comparison: Comparison) -> Figure:
    """One bar per plan: the step of its slowest rank, in its parts."""
    drawn = _drawn(comparison.ranking)
    series = {name: [getattr(case.summary, key) for case in drawn] for name, key in step_parts(comparison).items()}
    figure, axes = new_figure(wide=True, height=90 + 21 * len(drawn))
    _bars(axes, [_name(place, case, comparison) for place, case in enumerate(drawn, start=1)], series)
    axes.set_xlabel("ms per step on the slowest rank")
    legend_above(axes, columns=5)
    left = len(comparison.ranking) - len(drawn)
    first, last = drawn[0], drawn[-1]
    assert first.summary is not None
    assert last.summary is not None
    return Figure(
        name="step-parts",
        svg=figure_svg(figure, "step-parts"),
        alt=f"Bars from {first.summary.step_ms:.2f} ms ({first.label}) to {last.summary.step_ms:.2f} ms ({last.label}).",
        caption=f"Estimated step of each plan's slowest rank, by part ({cost_model(comparison)})"
        + (f"; {left} plan{'s' if left > 1 else ''} further down the list not drawn" if left else ""),
        wide=True,
        data={"plans": [case.key for case in drawn], **series},
    )


def trade_off_figure(comparison: Comparison) -> Figure:
    """Samples a second against memory per rank; the plans that no other beats are ringed, numbers are places."""
    figure, axes = new_figure(wide=True, height=330)
    clusters = list(dict.fromkeys(case.cluster for case in comparison.ranking))
    with style():
        for cluster, colour in zip(clusters, _colours(len(clusters)), strict=True):
            points = [_point(case) for case in comparison.ranking if case.cluster == cluster]
            axes.scatter(*zip(*points, strict=True), s=46, color=colour, label=cluster, zorder=3)
        _ring(axes, [_point(case) for case in comparison.ranking if case.key in comparison.pareto])
        _number(axes, comparison.ranking)
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    axes.set_xlabel("memory of the fullest rank, HBM and DDR (GiB)")
    axes.set_ylabel("samples/s")
    legend_above(axes, columns=3)
    best = [str(place) for place, case in enumerate(comparison.ranking, start=1) if case.key in comparison.pareto]
    return Figure(
        name="trade-off",
        svg=figure_svg(figure, "trade-off"),
        alt=f"Samples per second against memory per rank. Not beaten in both by any other: places {', '.join(best)}.",
        caption="Estimated speed against estimated memory. Numbers are places in the tables; a ring marks the best trade-offs",
        wide=True,
        data={
            "plans": [case.key for case in comparison.ranking],
            "memory_gib": [_point(case)[0] for case in comparison.ranking],
            "samples_per_s": [_point(case)[1] for case in comparison.ranking],
        },
    )


def _drawn(ranking: Sequence[Case]) -> list[Case]:
    """The plans that can be told apart on one scale: not many times slower than the first."""
    first = ranking[0].summary
    assert first is not None
    near = [
        case for case in ranking if case.summary is not None and case.summary.step_ms <= SLOWEST_DRAWN * first.step_ms
    ]
    return near[:MOST_BARS]


def _bars(axes: Axes, labels: Sequence[str], series: dict[str, list[float]]) -> None:
    left = np.zeros(len(labels))
    with style():
        for (name, values), colour in zip(series.items(), PALETTE, strict=False):
            axes.barh(range(len(labels)), values, 0.72, left=left, label=name, color=colour)
            left += np.asarray(values)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        for place, end in enumerate(left):
            axes.annotate(
                f"{end:.2f}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )


def _name(place: int, case: Case, comparison: Comparison) -> str:
    name = f"{place}  {case.strategy}"
    if len(comparison.clusters) > 1:
        name += f", {case.cluster}"
    return name + (f", {case.global_batch_size:,}" if len(comparison.batch_sizes) > 1 else "")


def _point(case: Case) -> tuple[float, float]:
    assert case.summary is not None
    return case.summary.peak_hbm_gib + case.summary.peak_ddr_gib, case.summary.samples_per_s


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _ring(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    axes.scatter(*zip(*points, strict=True), s=150, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=4)


def _number(axes: Axes, ranking: Sequence[Case]) -> None:
    """Each point's place; points that lie on top of each other share one label."""
    spots = np.array([[memory, np.log10(speed)] for memory, speed in map(_point, ranking)])
    span = np.maximum(spots.max(axis=0) - spots.min(axis=0), 1e-9)
    groups: list[list[int]] = []
    for index, spot in enumerate(spots / span):
        near = [group for group in groups if np.all(np.abs(spots[group[0]] / span - spot) < _TOUCHING)]
        if near:
            near[0].append(index)
        else:
            groups.append([index])
    for group in groups:
        text = ", ".join(str(index + 1) for index in group)
        axes.annotate(text, _point(ranking[group[0]]), xytext=(10, 4), textcoords="offset points", fontsize=9)
