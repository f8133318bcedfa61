"""Lines of Criteo text to arrays: a block at a time, and line by line only where it has a bad line.

Legend: n rows of a block.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from data.criteo import NUM_DENSE, NUM_FIELDS, NUM_SPARSE
from data.raw.bad_lines import BadLine
from data.raw.fixed_fields import FixedFields
from data.raw.raw_blocks import TextBlock

WRONG_FIELDS, BAD_LABEL, BAD_INTEGER, BAD_HEX = "wrong number of fields", "bad label", "bad integer", "bad hex"
NOT_UTF8, CRLF, CUT_OFF = "not UTF-8", "CRLF line end", "truncated .gz"
BAD_KINDS = (WRONG_FIELDS, BAD_LABEL, BAD_INTEGER, BAD_HEX, NOT_UTF8, CRLF, CUT_OFF)

_INTEGER = re.compile(rb"-?[0-9]{1,18}")
_HEX = re.compile(rb"[0-9a-fA-F]{8}")
_GOOD_LINE = re.compile(rb"[01](?:\t(?:-?[0-9]{1,18})?){13}(?:\t(?:[0-9a-fA-F]{8})?){26}")
_EXAMPLE_CHARACTERS = 80
_PIECE_BYTES = 1 << 18


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
    if not block.is_cut_off:
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
    """The rows of the lines at `places` of the block, or none if there is any that is not as the format says."""
    shapes = (
        ((), np.int8),
        ((NUM_DENSE,), np.int64),
        ((NUM_DENSE,), bool),
        ((NUM_SPARSE,), np.uint32),
        ((NUM_SPARSE,), bool),
    )
    arrays = [np.empty((*shape, len(places)), dtype) for shape, dtype in shapes]
    end = 0
    for piece in _pieces_of_lines(text):
        fields = FixedFields.of(piece, NUM_FIELDS)
        labels = fields.binary_digits(0) if fields else None
        integers = fields.integers(slice(1, 1 + NUM_DENSE)) if fields else None
        ids = fields.hex_words(slice(1 + NUM_DENSE, NUM_FIELDS)) if fields else None
        if labels is None or integers is None or ids is None:
            return None
        start, end = end, end + len(labels)
        for array, values in zip(arrays, (labels, *integers, *ids), strict=True):
            array[..., start:end] = values
    labels, integers, integer_missing, ids, id_missing = arrays
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


def _pieces_of_lines(text: bytes) -> Iterator[bytes]:
    """The lines in pieces, one at least, so small that what is computed from one stays in a core's cache."""
    start = 0
    while len(text) - start > _PIECE_BYTES:
        end = text.rfind(b"\n", start, start + _PIECE_BYTES) + 1 or text.index(b"\n", start) + 1
        yield text[start:end]
        start = end
    yield text[start:]
