"""What a report consists of. The HTML page, its Markdown twin and its JSON twin are all written from one `Report`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

Value = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """One key figure at the head of the page: its label, the figure as the reader sees it, and what it is to be compared with."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Prose:
    """Paragraphs, parted by an empty line; `code` and **strong** words are marked as in Markdown."""

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph set apart: something that the reader must know before she trusts the figures."""

    text: str
    tone: Literal["info", "good", "warning"] = "info"


@dataclass(frozen=True)
class Listing:
    """Lines shown as they are, in a fixed-width face: a command, a configuration."""

    text: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading, with the unit in it, and the `format()` specification for its numbers ("" picks one by type)."""

    title: str
    spec: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of raw values: formatted in the page and in Markdown, left as they are in JSON. None is shown as a dash."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    caption: str = ""
    highlighted_rows: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing as inline SVG. `alt` says in words, with numbers, what it shows: Markdown and screen readers have only that.

    `data` holds the numbers drawn, for the JSON twin. A wide figure takes the whole width, two others stand side by side, and a
    tall one has two others stacked beside it: the one before it and the one after it.
    """

    name: str
    svg: str
    alt: str
    caption: str = ""
    wide: bool = False
    tall: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)


Block = Prose | Note | Listing | Table | Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands under it, in reading order."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report. `results` are the figures that a program wants, under stable flat keys.

    `provenance` says where all of it came from: configuration, data, versions, hardware, seed, date.
    """

    title: str
    subtitle: str = ""
    cards: Sequence[Card] = ()
    sections: Sequence[Section] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)


def table(
    titles: Iterable[str], rows: Sequence[Sequence[Value]], *, specs: Mapping[str, str] | None = None, caption: str = ""
) -> Table:
    """A `Table` from plain headings; `specs` maps a heading to the format specification of its numbers."""
    known = specs or {}
    return Table(
        columns=[Column(title=title, spec=known.get(title, "")) for title in titles], rows=rows, caption=caption
    )


def format_value(value: Value, spec: str = "") -> str:
    """The text of one table cell: a dash for what is missing or not finite, thousands parted by commas, else four digits."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return format(value, spec or (",d" if isinstance(value, int) else ".4g"))


def is_numeric(column: int, rows: Sequence[Sequence[Value]]) -> bool:
    """Whether a table's column holds numbers (and missing ones) only: such a column is set flush right."""
    values = [row[column] for row in rows if row[column] is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
