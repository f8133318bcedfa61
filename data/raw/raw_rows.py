"""Lines of Criteo text to arrays: at the speed of Arrow's CSV parser, and line by line only where a block has a bad line.

Legend: n rows of a block.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from data.criteo import DENSE_NAMES, NUM_DENSE, NUM_FIELDS, NUM_SPARSE, SPARSE_NAMES
from data.raw.bad_lines import BadLine
from data.raw.raw_blocks import TextBlock

WRONG_FIELDS, BAD_LABEL, BAD_INTEGER, BAD_HEX = "wrong number of fields", "bad label", "bad integer", "bad hex"
NOT_UTF8, CRLF, CUT_OFF = "not UTF-8", "CRLF line end", "truncated .gz"
BAD_KINDS = (WRONG_FIELDS, BAD_LABEL, BAD_INTEGER, BAD_HEX, NOT_UTF8, CRLF, CUT_OFF)

_COLUMN_TYPES = (
    {"label": pa.binary()} | dict.fromkeys(DENSE_NAMES, pa.int64()) | dict.fromkeys(SPARSE_NAMES, pa.binary())
)
_PARSE = pa_csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False)
_CONVERT = pa_csv.ConvertOptions(column_types=_COLUMN_TYPES, null_values=[""], strings_can_be_null=True)

# Arrow's parser takes these (a lone CR as a line end, blanks around a number, 0x1F as an integer); the format has none of them.
_SUSPICIOUS = (b"\r", b" ", b"x", b"X", b"+")
_INTEGER = re.compile(rb"-?[0-9]{1,18}")
_HEX = re.compile(rb"[0-9a-fA-F]{8}")
_GOOD_LINE = re.compile(rb"[01](?:\t(?:-?[0-9]{1,18})?){13}(?:\t(?:[0-9a-fA-F]{8})?){26}")
_EXAMPLE_CHARACTERS = 80

_NOT_HEX = 0x100


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """The good lines of a block as arrays, and a count of its bad ones.

    row_ids and places (in the block) int64 [n]; labels int8 [n]; integers int64 [13, n], 0 where missing; ids uint32 [26, n], 0
    where missing; the masks are bool and true where the field is empty; probabilities float64 [n] or none.
    """

    row_ids: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    integers: np.ndarray
    integer_missing: np.ndarray
    ids: np.ndarray
    id_missing: np.ndarray
    probabilities: np.ndarray | None
    bad_counts: Counter[str] = field(default_factory=Counter)
    bad_lines: tuple[BadLine, ...] = ()


def parse_block(block: TextBlock) -> RawRows:
    """The rows of a block. Every line is either a row or counted as bad by kind."""
    if not block.is_cut_off and not any(character in block.text for character in _SUSPICIOUS):
        rows = _parse_text(block.text, np.arange(block.num_lines), block)
        if rows is not None:
            return rows
    return _parse_line_by_line(block)


def _parse_line_by_line(block: TextBlock) -> RawRows:
    lines = block.text.split(b"\n")[:-1]
    kinds = [_kind_of(line) for line in lines]
    if block.is_cut_off:
        kinds[-1] = CUT_OFF
    good = np.array([index for index, kind in enumerate(kinds) if kind is None], dtype=np.int64)
    rows = _parse_text(b"".join(lines[index] + b"\n" for index in good), good, block)
    assert rows is not None, f"{block.file}: the line check passes what the parser refuses"
    rows.bad_counts.update(kind for kind in kinds if kind is not None)
    firsts = tuple(_bad_line(block, kinds.index(kind), kind, lines) for kind in rows.bad_counts)
    return replace(rows, bad_lines=firsts)


def _kind_of(line: bytes) -> str | None:
    """Why a line cannot be used, or none."""
    if _GOOD_LINE.fullmatch(line):
        return None
    try:
        line.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if line.endswith(b"\r"):
        return CRLF
    fields = line.split(b"\t")
    if len(fields) != NUM_FIELDS:
        return WRONG_FIELDS
    if fields[0] not in (b"0", b"1"):
        return BAD_LABEL
    if not all(_INTEGER.fullmatch(text) for text in fields[1 : 1 + NUM_DENSE] if text):
        return BAD_INTEGER
    return BAD_HEX


def _bad_line(block: TextBlock, index: int, kind: str, lines: list[bytes]) -> BadLine:
    example = repr(lines[index][:_EXAMPLE_CHARACTERS])[1:]
    return BadLine(kind=kind, file=str(block.file), line=block.first_line + index, example=example)


def _parse_text(text: bytes, places: np.ndarray, block: TextBlock) -> RawRows | None:
    """The rows of the lines at `places` of the block, or none if there is any that the parser cannot take."""
    table = _read_csv(text, len(places))
    if table is None:
        return None
    labels = _labels(table["label"].combine_chunks())
    if labels is None:
        return None
    integers, integer_missing = _integers(table)
    ids, id_missing = (
        np.zeros((NUM_SPARSE, len(places)), dtype=np.uint32),
        np.zeros((NUM_SPARSE, len(places)), dtype=bool),
    )
    for row, missing, name in zip(ids, id_missing, SPARSE_NAMES, strict=True):
        if not decode_hex(table[name].combine_chunks(), row, missing):
            return None
    if np.abs(integers).max(initial=0) >= 10**18:
        return None
    return RawRows(
        row_ids=block.first_row_id + places,
        places=places,
        labels=labels,
        integers=integers,
        integer_missing=integer_missing,
        ids=ids,
        id_missing=id_missing,
        probabilities=None if block.probabilities is None else block.probabilities[places],
    )


def _read_csv(text: bytes, num_lines: int) -> pa.Table | None:
    if not text:
        return pa.table({name: pa.array([], kind) for name, kind in _COLUMN_TYPES.items()})
    read = pa_csv.ReadOptions(column_names=list(_COLUMN_TYPES), block_size=len(text) + 1, use_threads=False)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(text), read_options=read, parse_options=_PARSE, convert_options=_CONVERT
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == num_lines else None


def _labels(column: pa.BinaryArray) -> np.ndarray | None:
    """int8 [n], or none unless every label is one character, 0 or 1."""
    _, offsets, characters = column.buffers()
    if column.null_count or int(np.diff(np.frombuffer(offsets, dtype=np.int32)).max(initial=1)) != 1:
        return None
    labels = np.frombuffer(characters or b"", dtype=np.int8)[: len(column)] - ord("0")
    return labels if ((labels == 0) | (labels == 1)).all() else None


def _integers(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    values = np.empty((NUM_DENSE, table.num_rows), dtype=np.int64)
    missing = np.zeros((NUM_DENSE, table.num_rows), dtype=bool)
    for row, is_missing, name in zip(values, missing, DENSE_NAMES, strict=True):
        column = table[name]
        if column.null_count:
            is_missing[:] = column.is_null().to_numpy()
            column = column.fill_null(0)
        row[:] = column.to_numpy()
    return values, missing


def decode_hex(column: pa.BinaryArray, ids: np.ndarray, missing: np.ndarray) -> bool:
    """Fill `ids` and `missing` from strings of 8 hex digits; false if there is any other string.

    The strings lie end to end in Arrow's buffer, so pairs of characters are looked up 16 bits at a time.
    """
    _, offsets, digits = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    if column.null_count:
        missing[:] = column.is_null().to_numpy(zero_copy_only=False)
    if not np.array_equal(np.diff(ends), np.where(missing, 0, 8)):
        return False
    pairs = np.frombuffer(digits or b"", dtype=np.uint8)[ends[0] : ends[-1]].view(np.uint16)
    decoded = _hex_pairs[pairs]
    if decoded.max(initial=0) >= _NOT_HEX:
        return False
    values = decoded.astype(np.uint8).view(">u4")
    if column.null_count:
        ids[~missing] = values
    else:
        ids[:] = values
    return True


def _make_hex_pairs() -> np.ndarray:
    """uint16 [65536]: two characters, as they lie in memory, to the byte they spell, or _NOT_HEX."""
    table = np.full(1 << 16, _NOT_HEX, dtype=np.uint16)
    for byte in range(256):
        for digits in (f"{byte:02x}", f"{byte:02X}", f"{byte:02x}".capitalize(), f"{byte:02x}".swapcase()):
            table[np.frombuffer(digits.encode(), dtype=np.uint16)[0]] = byte
    return table


_hex_pairs = _make_hex_pairs()
