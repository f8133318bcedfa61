"""A block of CSV or TSV text to Arrow columns: all at once where every line is sound, by halves where some are not.

Legend: n lines of a block.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from data.raw.casting import pc
from data.raw.raw_blocks import TextBlock
from data.raw.rejected import CUT_OFF, OPEN_QUOTE, STRAY_CR, WRONG_FIELDS, Rejected
from data.spec.feature_spec import FormatSpec

Columns = dict[str, pa.Array]


@dataclass(frozen=True)
class CsvReader:
    """Reads blocks of text. `types`: the columns to read and what most of their values are."""

    format: FormatSpec
    types: Mapping[str, pa.DataType]

    def read(self, block: TextBlock, rejected: Rejected) -> tuple[Columns, np.ndarray]:
        """The columns of the lines that have the right number of fields, and those lines' places in the block, int64.

        Every column is of its type in `types`, or binary where a line of the block is unsound. Other lines are rejected.
        """
        text, places = _sound_ends(block, rejected)
        if not text:
            return {name: pa.array([], kind) for name, kind in self.types.items()}, places
        names = block.columns or self.format.columns
        table = self._parse(text, len(places), names, self.types)
        if table is None:
            pieces, kept = self._by_halves(text.split(b"\n")[:-1], places, names, rejected)
            table, places = pa.concat_tables(pieces), np.concatenate(kept)
        return {name: _whole(table[name]) for name in self.types}, places

    def _by_halves(
        self, lines: list[bytes], places: np.ndarray, names: tuple[str, ...], rejected: Rejected
    ) -> tuple[list[pa.Table], list[np.ndarray]]:
        binary = dict.fromkeys(self.types, pa.binary())
        table = self._parse(b"".join(line + b"\n" for line in lines), len(lines), names, binary)
        if table is not None:
            return [table], [places]
        if len(lines) == 1:
            rejected.add(self._fault(lines[0]), places)
            return [pa.table({name: pa.array([], kind) for name, kind in binary.items()})], [places[:0]]
        half = len(lines) // 2
        first = self._by_halves(lines[:half], places[:half], names, rejected)
        second = self._by_halves(lines[half:], places[half:], names, rejected)
        return first[0] + second[0], first[1] + second[1]

    def _fault(self, line: bytes) -> str:
        """What is wrong with a line that cannot be cut into its fields."""
        quote = self.format.quote_character.encode()
        return OPEN_QUOTE if quote and line.count(quote) % 2 else WRONG_FIELDS

    def _parse(
        self, text: bytes, num_lines: int, names: tuple[str, ...], types: Mapping[str, pa.DataType]
    ) -> pa.Table | None:
        """A row per line, or none where that cannot be."""
        read = pa_csv.ReadOptions(column_names=list(names), block_size=len(text) + 1, use_threads=False)
        quote = self.format.quote_character
        parse = pa_csv.ParseOptions(
            delimiter=self.format.separator, quote_char=quote or False, ignore_empty_lines=False
        )
        convert = pa_csv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=list(self.format.missing),
            strings_can_be_null=True,
        )
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text), read_options=read, parse_options=parse, convert_options=convert
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != num_lines or (quote and quote.encode() in text and _holds_line_feed(table)):
            return None
        return table


def _sound_ends(block: TextBlock, rejected: Rejected) -> tuple[bytes, np.ndarray]:
    """The lines of the block that end in LF or CRLF, ended by LF, and their places."""
    text, places = block.text, np.arange(block.num_lines)
    has_stray_cr = text.count(b"\r") != text.count(b"\r\n")
    if not block.is_cut_off and not has_stray_cr:
        return text.replace(b"\r\n", b"\n") if b"\r" in text else text, places
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n")[:-1]]
    is_stray = np.array([b"\r" in line for line in lines], dtype=bool)
    if block.is_cut_off:
        rejected.add(CUT_OFF, places[-1:])
        is_stray[-1] = False
    rejected.add(STRAY_CR, is_stray)
    good = np.flatnonzero(rejected.good())
    return b"".join(lines[place] + b"\n" for place in good), good


def _holds_line_feed(table: pa.Table) -> bool:
    """Whether a quote that is never closed has swallowed the end of a line."""
    texts = (column for column in table.columns if pa.types.is_string(column.type) or pa.types.is_binary(column.type))
    return any(pc.any(pc.match_substring(column, b"\n")).as_py() for column in texts)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
