"""The drawings of quantized models: AUC against size, differences with limits, latency and rows per second by batch."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pipeline.inference.latency import Latency
from pipeline.inference.quality import LIMITS, Quality
from pipeline.reports.document import Figure
from pipeline.reports.figures import INK, PALETTE, figure_svg, legend_above, new_figure, style

_DASHED = (0, (4, 3))
_MIB = 2**20


class Model(Protocol):
    """What a drawing needs of a model."""

    @property
    def name(self) -> str: ...

    @property
    def num_bytes(self) -> int: ...

    @property
    def quality(self) -> Quality: ...

    @property
    def latencies(self) -> Sequence[Latency]: ...


def size_figure(models: Sequence[Model]) -> Figure:
    """One bar per model: bytes of its weights."""
    figure, axes = new_figure(height=90 + 30 * len(models))
    sizes = [model.num_bytes / _MIB for model in models]
    with style():
        axes.barh(range(len(models)), sizes, 0.62, color=[INK, *[PALETTE[0]] * (len(models) - 1)])
        axes.set_yticks(range(len(models)), [model.name for model in models])
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
    axes.set_xlabel("weights (MiB)")
    return Figure(
        name="size",
        svg=figure_svg(figure, "size"),
        alt=", ".join(f"{model.name} {size:,.2f} MiB" for model, size in zip(models, sizes, strict=True)) + ".",
        caption="Weights as they are stored",
        data={"models": [model.name for model in models], "mib": sizes},
    )


def auc_figure(first: Model, others: Sequence[Model]) -> Figure:
    """Each model's AUC less the first one's with its interval, and the limits."""
    figure, axes = new_figure(height=90 + 30 * (len(others) + 1))
    values = np.array([model.quality.auc.value for model in others])
    low, high = (np.array([getattr(model.quality.auc, end) for model in others]) for end in ("low", "high"))
    limit = (LIMITS[-1] - 1) * first.quality.reference_auc
    with style():
        axes.errorbar(
            values, range(len(others)), xerr=[values - low, high - values], fmt="o", color=PALETTE[0], capsize=4
        )
        axes.axvline(0, color=INK, linewidth=1.1)
        axes.axvline(
            limit, color=PALETTE[1], linewidth=1.3, linestyle=_DASHED, label=f"{100 * LIMITS[-1]:g} % of the AUC"
        )
        axes.set_yticks(range(len(others)), [model.name for model in others])
        axes.set_ylim(len(others) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"AUC less that of {first.name}")
    legend_above(axes)
    return Figure(
        name="auc-differences",
        svg=figure_svg(figure, "auc-differences"),
        alt="; ".join(
            f"{model.name} {model.quality.auc.value:+.6f} from {model.quality.auc.low:+.6f} to {model.quality.auc.high:+.6f}"
            for model in others
        )
        + f"; the limit lies at {limit:+.6f}.",
        caption="Difference of AUC with its 95 % interval (paired DeLong)",
        data={"models": [model.name for model in others], "low": low, "value": values, "high": high},
    )


def latency_figure(models: Sequence[Model]) -> Figure:
    """Median and 99th percentile of a call, by batch size."""

    def draw(axes: Any, model: Model, colour: str) -> None:
        sizes = [each.batch_size for each in model.latencies]
        axes.plot(sizes, [each.p50_ms for each in model.latencies], marker="o", color=colour, label=model.name)
        axes.plot(sizes, [each.p99_ms for each in model.latencies], marker="_", color=colour, linestyle=_DASHED)

    at = {model.name: [each.p50_ms for each in model.latencies] for model in models}
    alt = "; ".join(f"{name} {', '.join(f'{value:.3f}' for value in values)} ms" for name, values in at.items())
    caption = "A call: median (line) and 99th percentile (dashed)"
    return _by_batch(models, draw, "latency", "ms per call", f"Medians: {alt}.", caption, at)


def throughput_figure(models: Sequence[Model]) -> Figure:
    """Rows per second by batch size, with the spread of the rounds."""

    def draw(axes: Any, model: Model, colour: str) -> None:
        sizes = [each.batch_size for each in model.latencies]
        middle = np.array([each.median_rows_per_s for each in model.latencies])
        spread = [
            middle - [min(each.rows_per_s) for each in model.latencies],
            np.array([max(each.rows_per_s) for each in model.latencies]) - middle,
        ]
        axes.errorbar(sizes, middle, yerr=spread, marker="o", color=colour, capsize=3, label=model.name)

    at = {model.name: [each.median_rows_per_s for each in model.latencies] for model in models}
    alt = "; ".join(f"{name} {', '.join(f'{value:,.0f}' for value in values)} rows/s" for name, values in at.items())
    caption = "Rows per second: median round, slowest and fastest"
    return _by_batch(models, draw, "throughput", "rows/s", f"Medians: {alt}.", caption, at)


def _by_batch(
    models: Sequence[Model], draw: Any, name: str, unit: str, alt: str, caption: str, data: dict[str, Any]
) -> Figure:
    figure, axes = new_figure(height=300)
    sizes = [each.batch_size for each in models[0].latencies]
    with style():
        for model, colour in zip(models, [INK, *PALETTE, *PALETTE], strict=False):
            draw(axes, model, colour)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
    axes.set_xlabel("rows per call")
    axes.set_ylabel(unit)
    legend_above(axes, columns=2 if len(models) <= 6 else 3)
    return Figure(
        name=name, svg=figure_svg(figure, name), alt=alt, caption=caption, data={"batch_sizes": sizes, **data}
    )
