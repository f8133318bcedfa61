"""Drawings in one common style, as inline SVG that is byte-identical for the same numbers.

Text stays text: it is selectable, read aloud, and takes the page's own typeface. Sizes are chosen so that a half-width
figure is about as wide as a phone, where its letters appear at nearly their nominal size.
"""

import io
import re
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), told apart by all common forms of colour blindness.
# Its yellow is darkened, for it vanishes on white; black is kept for references and totals.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c7a00", "#6b5b95")
INK, SOFT, GRID, OTHERS = "#1b2733", "#55636f", "#e4e9ed", "#b8c2cb"
HEAT_MAP = LinearSegmentedColormap.from_list(
    "shardline", ["#e8f1f8", "#7fb2d6", "#0072b2", "#08335c"]
)  # one hue: reads in grey

HALF_WIDTH, WIDE_WIDTH, HEIGHT = 420, 870, 270  # points
_LETTER_POINTS, _HANDLE_POINTS = 5.5, 32  # a legend's letter, about, and what stands before and behind a name

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shardline",
    "font.family": "DejaVu Sans",  # ships with matplotlib, so the layout is the same on every machine
    "font.size": 11.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 11.5,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": "#c3ccd4",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def style() -> Any:
    """The common style as a context; `new_figure` and `figure_svg` enter it by themselves."""
    return mpl.rc_context(_STYLE)


def new_figure(*, wide: bool = False, height: int = HEIGHT, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """An empty figure in the common style and its axes (one Axes, or an array as `plt.subplots` gives it); height in points."""
    with style():
        size = ((WIDE_WIDTH if wide else HALF_WIDTH) / 72, height / 72)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.subplots(rows, columns)


def legend_above(axes: Axes, *, columns: int = 4) -> None:
    """Puts the legend between title and drawing, where it covers no data; in fewer columns where names are long."""
    longest = max(map(len, axes.get_legend_handles_labels()[1]), default=0)
    figure: Any = axes.figure
    fitting = int(72 * figure.get_figwidth() // (_LETTER_POINTS * longest + _HANDLE_POINTS))
    with style():
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axes.legend(**place, ncols=max(1, min(columns, fitting)), columnspacing=1.2, handletextpad=0.5)


def plain_ticks(axis: Axis) -> None:
    """Marks a logarithmic axis at 1, 2 and 5 of every power of ten, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())


def _with_own_ids(svg: str, name: str) -> str:
    """Several drawings share one page, so every id in this one gets the figure's name in front."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)


def figure_svg(figure: Figure, name: str) -> str:
    """The figure as one `<svg>` element without a date, a size or an id that another figure of the page could have.

    `name` (letters, digits and hyphens) is unique on the page.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return _with_own_ids(svg, name).strip()
