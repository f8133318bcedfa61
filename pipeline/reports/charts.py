"""The kinds of drawing that several reports share: lines over steps, stacked bars per rank, a heat map of tables and ranks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.reports.figures import HEAT_MAP, INK, OTHERS, PALETTE, style

OTHER_TABLES = "all others"


def with_rest_added_up(series: Mapping[str, Sequence[float]], shown: Sequence[str]) -> dict[str, NDArray]:
    """The series named in `shown`, in that order, and the others added up under one name: a legend one can read."""
    rest = [values for name, values in series.items() if name not in shown]
    result = {name: np.asarray(series[name], dtype=float) for name in shown}
    return result | ({OTHER_TABLES: np.sum(rest, axis=0)} if rest else {})


def stacked_bars(axes: Axes, labels: Sequence[str], series: Mapping[str, Sequence[float] | NDArray]) -> None:
    """One bar per label, split by series from the bottom up; the series called "all others" is grey."""
    bottom = np.zeros(len(labels))
    colours = iter(PALETTE)
    with style():
        for name, values in series.items():
            colour = OTHERS if name == OTHER_TABLES else next(colours)
            axes.bar(range(len(labels)), values, 0.72, bottom=bottom, label=name, color=colour)
            bottom += np.asarray(values, dtype=float)
        axes.grid(visible=False, axis="x")
        _thin_labels(axes, labels, shown=16)


def stacked_areas(axes: Axes, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> None:
    """How the parts of a whole move over `x`: the first series lies at the bottom."""
    with style():
        axes.stackplot(x, *series.values(), labels=list(series), colors=PALETTE[: len(series)], linewidth=0)
        axes.margins(x=0)
        axes.set_ylim(bottom=0)


def heat_map(axes: Axes, values: NDArray, *, rows: Sequence[str], columns: Sequence[str], unit: str) -> None:
    """A grid of cells, darker for more, with its scale at the side; numbers stand in the cells where there is room.

    `values`: [rows, columns], NaN for a cell where there is nothing.
    """
    with style():
        image = axes.imshow(np.ma.masked_invalid(values), cmap=HEAT_MAP, aspect="auto", vmin=0)
        axes.set_yticks(range(len(rows)), rows)
        _thin_labels(axes, columns, shown=32)
        _part_cells(axes, values.shape)
        bar = axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=40, label=unit)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        if len(columns) <= 16:
            _write_numbers(axes, values)


def line(axes: Axes, x: Sequence[float], y: Sequence[float], label: str, *, points: bool = False) -> None:
    """One series over steps, with a dot at each value where there are few."""
    with style():
        axes.plot(x, y, label=label, marker="o" if points else None, markersize=4.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def reference(axes: Axes, y: float, label: str) -> None:
    """A dashed level to compare with, named in the legend."""
    with style():
        axes.axhline(y, color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label=label)


def _thin_labels(axes: Axes, labels: Sequence[str], *, shown: int) -> None:
    every = -(-len(labels) // shown)
    axes.set_xticks(range(0, len(labels), every), list(labels)[::every])


def _part_cells(axes: Axes, shape: tuple[int, ...]) -> None:
    """White lines between the cells."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)


def _write_numbers(axes: Axes, values: NDArray) -> None:
    limit = float(np.nanmax(values)) * 0.5 if np.isfinite(values).any() else 0.0
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value > limit else INK
            text = f"{value:.3g}" if value >= 0.01 else "<0.01"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
