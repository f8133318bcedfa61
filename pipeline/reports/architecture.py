"""The picture of an architecture: parts as boxes, from the features at the bottom to the logit at the top.

Nothing here knows a ranker: boxes and arrows come from the card, which was measured, so anybody's own arch is drawn too.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from models.card import ModelCard
from models.targets import is_target
from pipeline.reports.document import Figure
from pipeline.reports.figures import INK, PALETTE, SOFT, figure_svg, new_figure, style

LOGIT = "logit"
_BOX_WIDTH, _BOX_HEIGHT, _GAP, _LEVEL = 2.5, 0.8, 0.45, 1.5
_FILLS = {"input": "#e8f1f8", "tables": "#fdeee2", "part": "#e6f4ef", "logit": "#ffffff"}
_EDGES = {"input": PALETTE[0], "tables": PALETTE[1], "part": PALETTE[2], "logit": INK}


@dataclass(frozen=True)
class Box:
    """One box: its lines of text, its kind, and the names of the boxes below that it reads."""

    title: str
    detail: str
    kind: str
    inputs: tuple[str, ...] = ()


def architecture_figure(card: ModelCard) -> Figure:
    """The picture as a figure of a report."""
    boxes = boxes_of(card)
    arrows = "; ".join(f"{name} reads {', '.join(box.inputs)}" for name, box in boxes.items() if box.inputs)
    return Figure(
        name="architecture",
        svg=architecture_svg(card),
        alt=f"From bottom to top: {arrows}.",
        caption=f"The architecture of {card.ranker}; numbers are columns and trained values",
        wide=True,
        data={name: list(box.inputs) for name, box in boxes.items()},
    )


def architecture_svg(card: ModelCard) -> str:
    """The picture as one `<svg>` element."""
    boxes = boxes_of(card)
    levels = _levels(boxes)
    places = _places(boxes, levels)
    num_levels = max(levels.values()) + 1
    figure, axes = new_figure(wide=True, height=70 * num_levels + 20)
    with style():
        _frame(axes, places, num_levels)
        for name, box in boxes.items():
            for source in box.inputs:
                _arrow(axes, _route(source, name, places, levels))
        for name, box in boxes.items():
            _draw(axes, box, places[name, levels[name]], levels[name])
    return figure_svg(figure, "architecture")


def boxes_of(card: ModelCard) -> dict[str, Box]:
    """Every box by name, those that are read first. Inputs that nothing reads are left out."""
    boxes = {"dense": Box("dense features", f"{card.num_dense} columns", "input")}
    for group in card.tables:
        boxes[group.name] = Box(group.name, f"{group.num_tables} tables, {group.num_rows:,} rows", "tables")
    for part in card.parts:
        if part.inputs:
            values = f", {part.parameters:,} values" if part.parameters else ""
            columns = f"{part.out_features:,} column{'' if part.out_features == 1 else 's'}"
            boxes[part.name] = Box(part.name, f"{columns}{values}", "part", part.inputs)
    several = "one for each target" if all(map(is_target, card.logit_inputs)) else "their sum"
    boxes[LOGIT] = Box(LOGIT, several if len(card.logit_inputs) > 1 else "", "logit", card.logit_inputs)
    read = {source for box in boxes.values() for source in box.inputs}
    return {name: box for name, box in boxes.items() if name in read or name == LOGIT}


def _levels(boxes: dict[str, Box]) -> dict[str, int]:
    """How high each box stands: one above the highest that it reads; what nothing else reads directly below the logit."""
    levels: dict[str, int] = {}
    while len(levels) < len(boxes):
        for name, box in boxes.items():
            if name not in levels and all(source in levels for source in box.inputs):
                levels[name] = max((levels[source] + 1 for source in box.inputs), default=0)
    return levels


def _places(boxes: dict[str, Box], levels: dict[str, int]) -> dict[tuple[str, int], float]:
    """The x of each box on its level, and of each long arrow on the levels that it passes ("source>target")."""
    rows: list[list[str]] = [[] for _ in range(max(levels.values()) + 1)]
    below: dict[str, list[str]] = {}
    for name, box in boxes.items():
        rows[levels[name]].append(name)
        below[f"{name}@{levels[name]}"] = []
        for source in box.inputs:
            last = f"{source}@{levels[source]}"
            for level in range(levels[source] + 1, levels[name]):
                rows[level].append(_lane(source, name))
                below[f"{_lane(source, name)}@{level}"] = [last]
                last = f"{_lane(source, name)}@{level}"
            below[f"{name}@{levels[name]}"].append(last)
    places: dict[str, float] = {}
    for level, names in enumerate(rows):
        wanted = {name: _mean([places[each] for each in below[f"{name}@{level}"]], at) for at, name in enumerate(names)}
        ordered = sorted(names, key=lambda name: wanted[name])
        widths = [_width(name) for name in ordered]
        x = -sum(widths) / 2
        for name, width in zip(ordered, widths, strict=True):
            places[f"{name}@{level}"] = x + width / 2
            x += width
    return {(key.rpartition("@")[0], int(key.rpartition("@")[2])): x for key, x in places.items()}


def _lane(source: str, target: str) -> str:
    return f"{source}>{target}"


def _width(name: str) -> float:
    return _GAP if ">" in name else _BOX_WIDTH + _GAP


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _route(
    source: str, target: str, places: dict[tuple[str, int], float], levels: dict[str, int]
) -> list[tuple[float, float]]:
    """Points of an arrow: top of the source, the lanes between, bottom of the target."""
    start, end = levels[source], levels[target]
    points = [(places[source, start], start * _LEVEL + _BOX_HEIGHT / 2)]
    for level in range(start + 1, end):
        x, y = places[_lane(source, target), level], level * _LEVEL
        points += [(x, y - _BOX_HEIGHT / 2), (x, y + _BOX_HEIGHT / 2)]
    x = places[target, end]
    towards = max(-1.0, min(1.0, (points[-1][0] - x) / (2 * _BOX_WIDTH)))
    return [*points, (x + towards * 0.35 * _BOX_WIDTH, end * _LEVEL - _BOX_HEIGHT / 2)]


def _arrow(axes: Axes, points: list[tuple[float, float]]) -> None:
    xs, ys = zip(*points[:-1], strict=True)
    axes.plot(xs, ys, color=SOFT, linewidth=1.2, zorder=1)
    look = {"arrowstyle": "-|>", "color": SOFT, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11}
    axes.annotate("", xy=points[-1], xytext=points[-2], arrowprops=look, zorder=1)


def _draw(axes: Axes, box: Box, x: float, level: int) -> None:
    y = level * _LEVEL
    corner = (x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner,
            _BOX_WIDTH,
            _BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=_FILLS[box.kind],
            edgecolor=_EDGES[box.kind],
            linewidth=1.2,
            zorder=2,
        )
    )
    axes.text(
        x, y + (0.13 if box.detail else 0), box.title, ha="center", va="center", weight="bold", color=INK, zorder=3
    )
    if box.detail:
        axes.text(x, y - 0.17, box.detail, ha="center", va="center", fontsize=8.5, color=SOFT, zorder=3)


def _frame(axes: Axes, places: dict[tuple[str, int], float], num_levels: int) -> None:
    reach = max(max(abs(x) for x in places.values()) + _BOX_WIDTH / 2 + 0.1, 5.0)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-_BOX_HEIGHT / 2 - 0.1, (num_levels - 1) * _LEVEL + _BOX_HEIGHT / 2 + 0.1)
    axes.axis("off")
