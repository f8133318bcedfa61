"""The plots of the suite's report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.growth import TITLES
from pipeline.reports.document import Figure
from pipeline.reports.figures import INK, OTHERS, PALETTE, figure_svg, legend_above, new_figure, style
from sharding_plans.measuring.measurement import PARTS


def throughput_figure(batches: Mapping[str, Any]) -> Figure:
    """Samples per second of everybody, a bar each, ours in colour; whiskers from least to most."""
    figure, grid = new_figure(wide=True, columns=len(batches), height=300)
    words = []
    for axes, (batch, models) in zip(np.atleast_1d(grid), batches.items(), strict=True):
        rates = {**models["dlrm"]["samples_per_s"], **models["deepfm"]["samples_per_s"]}
        names = list(rates)[::-1]
        medians = [rates[name]["median"] for name in names]
        low = [rates[name]["median"] - rates[name]["least"] for name in names]
        high = [rates[name]["most"] - rates[name]["median"] for name in names]
        colours = [PALETTE[0] if name.startswith("shardline") else OTHERS for name in names]
        with style():
            axes.barh(names, medians, 0.66, xerr=[low, high], color=colours, ecolor=INK, error_kw={"linewidth": 1})
            axes.set_title(f"batch {batch}")
            axes.set_xlabel("samples/s")
            axes.grid(visible=False, axis="y")
            axes.ticklabel_format(axis="x", style="plain")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f} k")
        words.append(f"batch {batch}: " + ", ".join(f"{name} {rates[name]['median']:,.0f}" for name in rates))
    return Figure(
        name="throughput",
        svg=figure_svg(figure, "throughput"),
        alt=f"Samples per second at {'; '.join(words)}.",
        caption="Training samples per second, medians with the least and the most",
        wide=True,
        data=batches,
    )


def walkthrough_figure(jobs: Mapping[str, Any]) -> Figure:
    """Seconds of each job, ours and the reference's, on a logarithmic scale."""
    figure, axes = new_figure(wide=True)
    both = {name: job for name, job in jobs.items() if "dlrm_s_pytorch" in job}
    places = np.arange(len(both))
    with style():
        for offset, name, colour in ((-0.2, "shardline", PALETTE[0]), (0.2, "dlrm_s_pytorch", OTHERS)):
            seconds = [job[name]["seconds"]["median"] for job in both.values()]
            bars = axes.bar(places + offset, seconds, 0.38, label=name, color=colour)
            axes.bar_label(bars, [f"{value:,.0f} s" for value in seconds], padding=2, fontsize=10)
        axes.set_yscale("log")
        axes.set_ylim(bottom=1)
        axes.set_ylabel("seconds")
        axes.set_xticks(places, [name.replace(", ", ",\n", 1) for name in both])
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.15)
    legend_above(axes)
    times = ", ".join(f"{name}: {job['ratio']['median']:.1f} times as fast" for name, job in both.items())
    return Figure(
        name="walkthrough",
        svg=figure_svg(figure, "walkthrough"),
        alt=f"Whole jobs: {times}.",
        caption="Seconds of whole jobs, logarithmic",
        wide=True,
    )


def roofline_figure(steps: Mapping[str, Any]) -> Figure:
    """What each part takes, and of that the bound."""
    steps = {precision: step for precision, step in steps.items() if step["fraction"] <= 1}
    figure, grid = new_figure(wide=True, columns=max(1, len(steps)), height=300)
    for axes, (precision, step) in zip(np.atleast_1d(grid), steps.items(), strict=True):
        names = [part for part in step["parts"] if step["parts"][part]["ms"] > 0.001 * step["ms"]][::-1]
        with style():
            axes.barh(
                [PARTS[part] for part in names],
                [step["parts"][part]["ms"] for part in names],
                0.66,
                color=OTHERS,
                label="measured",
            )
            axes.barh(
                [PARTS[part] for part in names],
                [step["parts"][part]["bound_ms"] for part in names],
                0.3,
                color=PALETTE[0],
                label="bound",
            )
            axes.set_title(f"{precision}: {step['fraction']:.0%} reached", pad=26)
            axes.set_xlabel("ms")
            axes.grid(visible=False, axis="y")
        legend_above(axes)
    words = "; ".join(
        f"{precision}: bound {step['bound_ms']:.0f} of {step['ms']:.0f} ms" for precision, step in steps.items()
    )
    return Figure(
        name="roofline",
        svg=figure_svg(figure, "roofline"),
        alt=f"{words}.",
        caption="A step by part: what it takes, and the least that it could take on this machine",
        wide=True,
    )


def growth_figure(curves: Mapping[str, Any]) -> Figure:
    """Time and memory over what grows, both axes logarithmic, with the fitted power laws."""
    count = len(curves)
    columns = min(3, count)
    figure, grid = new_figure(wide=True, rows=-(-count // columns), columns=columns, height=250 * -(-count // columns))
    flat = np.atleast_1d(grid).flatten()
    for axes in flat[count:]:
        axes.set_axis_off()
    for axes, (axis, curve) in zip(flat, curves.items(), strict=False):
        _curve(axes, axis, curve)
    words = "; ".join(
        f"{TITLES[axis]}: time {curve['step_ms_exponent']:.2f}, memory {curve['memory_mib_exponent']:.2f}"
        for axis, curve in curves.items()
    )
    return Figure(
        name="growth",
        svg=figure_svg(figure, "growth"),
        alt=f"Fitted exponents. {words}.",
        caption="Milliseconds of a step and MiB of its process over what grows, logarithmic; lines are the fitted power laws",
        wide=True,
    )


def _curve(axes: Any, axis: str, curve: Mapping[str, Any]) -> None:
    sizes = np.array([point["size"] for point in curve["points"]], float)
    with style():
        for kind, unit, colour in (("step_ms", "ms", PALETTE[0]), ("memory_mib", "MiB", PALETTE[1])):
            values = np.maximum([point[kind] for point in curve["points"]], 1e-3)
            slope, height = np.polyfit(np.log(sizes), np.log(values), 1)
            axes.plot(sizes, values, "o", color=colour, markersize=5, label=f"{unit}: {slope:.2f}")
            axes.plot(sizes, np.exp(height) * sizes**slope, color=colour, linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{size:,.0f}" if size < 10_000 else f"{size / 1000:,.0f}k" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel(TITLES[axis])
        axes.legend(loc="upper left", title="exponent")
        axes.margins(y=0.3)
