"""A JSON body to raw rows: {"rows": [{"I1": 3, "C1": "68fd1e64"}, ...]}. What is absent or null is a missing value.

Rows are checked one by one as they come, and become columns only with the others of their batch: a column costs as much for one
row as for many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from pipeline.serving.raw_columns import Kind, RawColumn, RawColumns
from pipeline.serving.refusals import bad_request, too_large

Row = dict[str, Any]


@dataclass(frozen=True)
class JsonRows:
    """Rows that were checked, each value as its column holds it."""

    rows: list[Row]

    @property
    def num_rows(self) -> int:
        return len(self.rows)


_WORDS: dict[Kind, str] = {
    "integer": "a whole number of 64 bits",
    "number": "a number",
    "text": "a text",
    "text or number": "a text or a number",
}
_NAMES = {str: "the text", bool: "the word", float: "the number", int: "the number", list: "a list", dict: "an object"}
_SHOWN_CHARACTERS = 60
_GREATEST = 2**63 - 1
_EXACT_IN_FLOAT64 = 2**53


def rows_of_json(body: bytes, columns: RawColumns, max_rows: int) -> JsonRows:
    """The rows. Refusal that names row, column, what was found and what was expected."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The body is no JSON: {error}.") from error
    rows = _rows(found, max_rows)
    readers = columns.by_name
    for place, row in enumerate(rows):
        if type(row) is not dict:
            raise bad_request(f"Row {place} is {_said(row)}; expected an object, such as {{{_example(columns)}}}.")
        for name, value in row.items():
            column = readers.get(name)
            if column is not None:
                if type(value) not in column.as_they_are:
                    row[name] = _held(column, value, f"Row {place}, column {name!r}")
            elif name not in columns.passed_over:
                raise columns.unknown(name)
    return JsonRows(rows)


def table_of_rows(rows: Sequence[Row], columns: RawColumns) -> pa.Table:
    """Rows that were checked, as columns."""
    return pa.table({each.name: _array(each, rows, columns.missing) for each in columns.read})


def json_answer(probabilities: Any, model: str) -> bytes:
    return orjson.dumps({"probabilities": probabilities, "model": model}, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(found: Any, max_rows: int) -> list[Any]:
    if type(found) is not dict or found.keys() != {"rows"}:
        what = (
            f"an object with {', '.join(map(repr, list(found)[:5])) or 'nothing'}"
            if type(found) is dict
            else _said(found)
        )
        raise bad_request(f'The body is {what[:200]}; expected {{"rows": [{{...}}, ...]}}, and nothing beside rows.')
    rows = found["rows"]
    if type(rows) is not list:
        raise bad_request(f"rows is {_said(rows)}; expected a list of objects.")
    if len(rows) > max_rows:
        raise too_large(f"The request has {len(rows):,} rows; at most {max_rows:,} can come at a time.")
    return rows


def _held(column: RawColumn, value: Any, where: str) -> Any:
    """A value as its column holds it; of a text for a list, the items between the separators, as in a file."""
    if not column.is_list:
        return _item(column, value, where)
    if type(value) is str:
        return [_item_of_text(column, text, where) for text in value.split(column.separator)]
    if type(value) is list:
        return [None if item is None else _item(column, item, f"{where}, item {at}") for at, item in enumerate(value)]
    raise bad_request(f"{where} is {_said(value)}; expected a list, each item {_WORDS[column.kind]}, or null.")


def _item(column: RawColumn, value: Any, where: str) -> Any:
    kind, found = column.kind, type(value)
    if found is int and kind != "text":
        if kind == "integer" and value <= _GREATEST:
            return value
        if kind == "number":
            return float(value) if abs(value) > _EXACT_IN_FLOAT64 else value
    if found is str and kind.startswith("text"):
        return value
    if found is float and kind == "number":
        return value
    if found is float and kind == "integer" and value.is_integer() and abs(value) <= _EXACT_IN_FLOAT64:
        return int(value)
    if found in (int, float) and kind == "text or number":
        return str(value)
    raise bad_request(f"{where} is {_said(value)}; expected {_WORDS[kind]}, or null.")


def _item_of_text(column: RawColumn, text: str, where: str) -> Any:
    if not text or column.kind == "text":
        return text or None
    try:
        return _item(column, int(text) if column.kind == "integer" else float(text), where)
    except ValueError as error:
        shown = text[:_SHOWN_CHARACTERS]
        raise bad_request(f"{where} has the item {shown!r}; expected {_WORDS[column.kind]}.") from error


def _array(column: RawColumn, rows: Sequence[Row], missing: frozenset[str]) -> pa.Array:
    values = [row.get(column.name) for row in rows]
    if missing and not column.is_list and column.kind.startswith("text"):
        values = [None if value in missing else value for value in values]
    return pa.array(values, column.arrow_type)


def _said(value: Any) -> str:
    """A value in a message: what it is, and how it begins."""
    if value is None:
        return "null"
    if isinstance(value, list | Mapping):
        return f"{_NAMES[type(value)]} of {len(value)}"
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    return f"{_NAMES[type(value)]} {shown[:_SHOWN_CHARACTERS]}"


def _example(columns: RawColumns) -> str:
    return ", ".join(f'"{each.name}": ...' for each in columns.read[:2])
