"""A model card as text, as blocks of a report, and as flat results."""

from typing import Any

from models.card import ModelCard
from pipeline.reports.architecture import architecture_figure
from pipeline.reports.document import Block, Card, Column, Listing, Prose, Table, Value

_CAPTION = (
    "Sizes by part. Bytes: tables as they are stored, the rest in float32. FLOPs: one forward pass of one sample, a multiply-add "
    "counted as two, lookups and copies left out"
)
_COLUMNS = (
    Column(title="part"),
    Column(title="parameters", spec=",.0f"),
    Column(title="MiB", spec=",.2f"),
    Column(title="FLOPs per sample", spec=",.0f"),
    Column(title="bytes read per sample", spec=",.0f"),
)


def card_blocks(card: ModelCard) -> list[Block]:
    """The picture, what is computed, and the table of parts."""
    formula: list[Block] = [Listing(card.formula, "What is computed")] if card.formula else []
    interactions: list[Block] = [Prose(f"Interactions: {card.interactions}.")] if card.interactions else []
    return [architecture_figure(card), *formula, *interactions, _table(card)]


def card_cards(card: ModelCard) -> list[Card]:
    """Four figures at the head of a page."""
    return [
        Card(
            label="Parameters",
            value=_short(card.table_parameters + card.dense_parameters),
            note="tables and dense part",
        ),
        Card(label="Weights", value=f"{card.num_bytes / 2**20:,.1f} MiB", note="as stored"),
        Card(label="FLOPs per sample", value=_short(card.flops_per_sample), note="forward"),
        Card(label="Embedding bytes per sample", value=_short(card.embedding_bytes_per_sample), note="read in forward"),
    ]


def card_results(card: ModelCard) -> dict[str, Any]:
    """Flat keys for programs."""
    return {
        "model/ranker": card.ranker,
        "model/table_parameters": card.table_parameters,
        "model/dense_parameters": card.dense_parameters,
        "model/bytes": card.num_bytes,
        "model/flops_per_sample": card.flops_per_sample,
        "model/embedding_bytes_per_sample": card.embedding_bytes_per_sample,
    }


def card_text(card: ModelCard) -> str:
    """The card for the terminal."""
    lines = [card.ranker, *(f"  {line}" for line in card.formula.splitlines())]
    if card.interactions:
        lines.append(f"  {card.interactions}")
    table = _table(card)
    widest = max(len(str(row[0])) for row in table.rows)
    lines += ["", f"{'part':<{widest}} {'parameters':>15} {'MiB':>12} {'FLOPs/sample':>13} {'bytes/sample':>13}"]
    for name, parameters, mib, flops, traffic in table.rows:
        cells = [
            _cell(parameters, ",.0f", 15),
            _cell(mib, ",.2f", 12),
            _cell(flops, ",.0f", 13),
            _cell(traffic, ",.0f", 13),
        ]
        lines.append(f"{name:<{widest}} {' '.join(cells)}")
    return "\n".join(lines)


def _table(card: ModelCard) -> Table:
    rows: list[list[Value]] = [
        [
            _tables_name(group.name, group.num_tables),
            group.parameters,
            group.num_bytes / 2**20,
            None,
            group.bytes_per_sample,
        ]
        for group in card.tables
    ]
    rows += [
        [part.name, part.parameters, 4 * part.parameters / 2**20, part.flops_per_sample, None] for part in card.parts
    ]
    total = card.table_parameters + card.dense_parameters
    rows.append(["sum", total, card.num_bytes / 2**20, card.flops_per_sample, card.embedding_bytes_per_sample])
    return Table(columns=_COLUMNS, rows=rows, caption=_CAPTION, highlighted_rows=(len(rows) - 1,))


def _tables_name(name: str, num_tables: int) -> str:
    return f"{name} ({num_tables} table{'' if num_tables == 1 else 's'})"


def _cell(value: Value, spec: str, width: int) -> str:
    return f"{'-' if value is None else format(value, spec):>{width}}"


def _short(value: float) -> str:
    """1,234 as it is; larger numbers in thousands, millions, billions, to three digits."""
    for limit, divisor, unit in ((1e4, 1, ""), (1e6, 1e3, " k"), (1e9, 1e6, " M"), (1e12, 1e9, " G")):
        if value < limit:
            return f"{value:,.0f}" if divisor == 1 else f"{value / divisor:.3g}{unit}"
    return f"{value / 1e12:.3g} T"
