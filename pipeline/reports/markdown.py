"""The Markdown form of a report, for terminals, reviews and diffs: the same text and tables, figures in words or as images."""

from collections.abc import Sequence

from pipeline.reports.document import (
    Block,
    Card,
    Figure,
    Listing,
    Note,
    Prose,
    Report,
    Section,
    Table,
    format_value,
    is_numeric,
)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def markdown_table(table: Table) -> str:
    """The table in Markdown: a caption line if there is one, headings, alignment, rows; highlighted rows are in bold."""
    rule = ["---:" if is_numeric(column, table.rows) else "---" for column in range(len(table.columns))]
    lines = [table.caption, ""] if table.caption else []
    lines += [_row([column.title for column in table.columns]), "| " + " | ".join(rule) + " |"]
    for index, row in enumerate(table.rows):
        cells = [format_value(value, column.spec) for value, column in zip(row, table.columns, strict=True)]
        lines.append(_row([f"**{cell}**" for cell in cells] if index in table.highlighted_rows else cells))
    return "\n".join(lines)


def _block(block: Block, images: str | None) -> str:
    match block:
        case Prose(text):
            return text.strip()
        case Note(text, tone):
            return f"> **{tone.capitalize()}.** {text}"
        case Listing(text, caption):
            return "\n".join(([caption, ""] if caption else []) + ["```text", text.rstrip("\n"), "```"])
        case Table():
            return markdown_table(block)
        case Figure() if images is not None:
            return f"![{block.alt}]({images}{block.name}.svg)\n\n*{block.caption or block.name}*"
        case Figure():
            return f"*Figure. {block.caption or block.name}* {block.alt}"


def _cards(cards: Sequence[Card]) -> str:
    return "\n".join(f"- {card.label}: **{card.value}**" + (f" ({card.note})" if card.note else "") for card in cards)


def _section(section: Section, images: str | None) -> list[str]:
    return [f"## {section.title}", *(_block(block, images) for block in section.blocks)]


def _provenance(report: Report) -> list[str]:
    if not report.provenance:
        return []
    rows = [_row(["What", "Value"]), "| --- | --- |", *(_row(item) for item in report.provenance.items())]
    return ["## Where this came from", "\n".join(rows)]


def render_markdown(report: Report, *, images: str | None = None) -> str:
    """The whole report in Markdown, ending in one newline.

    `images` is what the paths of figures' SVG files begin with, which the caller writes; without it figures are told in words.
    """
    parts = [f"# {report.title}", report.subtitle, _cards(report.cards)]
    for section in report.sections:
        parts += _section(section, images)
    return "\n\n".join(part for part in [*parts, *_provenance(report)] if part) + "\n"
