"""The line that names the columns of a text file."""

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Header:
    """How the first line is written, and the columns that must be in it."""

    separator: str
    quote: str
    needed: tuple[str, ...]


def read_header(text: bytes, header: Header, file: Path) -> tuple[tuple[str, ...], bytes]:
    """The names in the first line, and the text behind it. DataError where one is absent or there twice."""
    end = text.index(b"\n") + 1
    line = text[:end].removeprefix(BOM).rstrip(b"\r\n")
    try:
        columns = split_line(line.decode(), header.separator, header.quote)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: the first line, which should name the columns, is not UTF-8. Convert the file."
        ) from error
    check_columns(columns, header.needed, str(file))
    return columns, text[end:]


def split_line(line: str, separator: str, quote: str) -> tuple[str, ...]:
    """The fields of one line of text. DataError for a line that the rules of CSV cannot cut."""
    try:
        return _fields(line, separator, quote)
    except csv.Error as error:
        raise DataError(
            f"The line {line[:80]!r} cannot be cut into fields: {error}. Correct the file, or the spec."
        ) from error


def _fields(line: str, separator: str, quote: str) -> tuple[str, ...]:
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return tuple(next(csv.reader([line], delimiter=separator, quotechar=quote or None, quoting=quoting), []))


def check_columns(columns: Sequence[str], needed: Sequence[str], where: str) -> None:
    """DataError where a column is there twice, or where one that the spec names is absent: with the nearest names."""
    twice = next((name for name in columns if list(columns).count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: column {twice!r} is there twice. Expected every name once: rename one of the two.")
    absent = [name for name in needed if name not in columns]
    if absent:
        near = difflib.get_close_matches(absent[0], columns, n=3, cutoff=0.3)
        names = [*near, *(name for name in columns if name not in near)]
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise DataError(
            f"{where} has no column {absent[0]!r}{more}, which the spec names; it has, nearest first: {shown}."
            " Correct the spec or the file."
        )
