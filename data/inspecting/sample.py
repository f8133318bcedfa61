"""The first rows of a table of unknown shape: its format, the names of its columns, and their values as they are written."""

import csv
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from data.errors import DataError
from data.raw.header import BOM, split_line
from data.raw.table_files import table_files
from data.raw.text_file import TextFile
from data.spec.feature_spec import FormatSpec
from data.storage import open_parquet, raw_path

_SAMPLE_BYTES = 1 << 22
_DELIMITERS = (",", "\t", ";", "|")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w .:-]*")
_MISSING_WORDS = ("NA", "N/A", "null", "NULL", "None", "\\N", "-")


@dataclass(frozen=True)
class Sample:
    """Rows of a table: `columns` maps a name to its values, texts in CSV and TSV, any type in Parquet; None is missing."""

    file: Path
    format: FormatSpec
    columns: dict[str, list]
    num_rows: int
    num_uneven: int = 0


def take_sample(source: str | Path, num_rows: int) -> Sample:
    """The first `num_rows` rows of the first file. DataError where there is none, or nothing can be made of it."""
    source = raw_path(source)
    if source.is_dir():
        is_parquet = any(path.suffix in (".parquet", ".pq") for path in source.iterdir())
        file = table_files(source, FormatSpec(kind="parquet" if is_parquet else "csv"))[0]
    else:
        file = table_files(source, FormatSpec(kind="csv"))[0]
    if file.suffix in (".parquet", ".pq"):
        return _parquet_sample(file, num_rows)
    return _text_sample(file, num_rows)


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _parquet_sample(file: Path, num_rows: int) -> Sample:
    try:
        with open_parquet(file, verify_pages=False) as opened:
            batch = next(opened.iter_batches(num_rows), None)
            schema = opened.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}. Write it again, or name another file.") from error
    columns = {name: [] if batch is None else batch.column(name).to_pylist() for name in schema.names}
    return Sample(file, FormatSpec(kind="parquet"), columns, 0 if batch is None else batch.num_rows)


def _text_sample(file: Path, num_rows: int) -> Sample:
    text, _, _ = next(iter(TextFile(file, _SAMPLE_BYTES)))
    try:
        lines = text.removeprefix(BOM).decode().splitlines()[: num_rows + 1]
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error}. Convert it, or name another file.") from error
    delimiter = max(_DELIMITERS, key=lambda each: _evenness(lines[:100], each))
    quote = '"' if delimiter != "\t" and any('"' in line for line in lines) else ""
    rows = [split_line(line, delimiter, quote) for line in lines]
    width = len(rows[0])
    has_header = _is_header(rows)
    names = [name.strip() for name in rows[0]] if has_header else [f"column_{i + 1}" for i in range(width)]
    if len(set(names)) < len(names):
        raise DataError(f"{file}: the first line names a column twice: {', '.join(names)}. Rename one of the two.")
    body = rows[1 if has_header else 0 :][:num_rows]
    even = [row for row in body if len(row) == width]
    kind = "tsv" if delimiter == "\t" else "csv"
    missing = ("", *(word for word in _MISSING_WORDS if any(word in row for row in even)))
    form = FormatSpec(
        kind=kind,
        header=has_header,
        columns=() if has_header else tuple(names),
        delimiter="" if delimiter in (",", "\t") else delimiter,
        quote="" if kind == "csv" and not quote else None,
        missing=missing,
    )
    columns = {name: [None if row[i] in missing else row[i] for row in even] for i, name in enumerate(names)}
    return Sample(file, form, columns, len(body), len(body) - len(even))


def _evenness(lines: list[str], delimiter: str) -> tuple[bool, int]:
    """How well a delimiter cuts the lines: into the same number of fields, and into many."""
    counts = [len(row) for row in islice(csv.reader(lines, delimiter=delimiter), 100)]
    common = max(set(counts), key=counts.count) if counts else 0
    return counts.count(common) >= 0.9 * len(counts) and common > 1, common


def _is_header(rows: list[tuple[str, ...]]) -> bool:
    """Whether the first line names columns: plain and different words, none of them a number."""
    first = [name.strip() for name in rows[0]]
    is_named = all(_PLAIN_NAME.fullmatch(name) and not is_number(name) for name in first) and len(set(first)) == len(
        first
    )
    below = {row[i] for row in rows[1:50] for i in range(min(len(row), len(first)))}
    return is_named and not set(first) <= below
