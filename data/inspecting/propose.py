"""A feature spec for a table that nobody described: guessed from a sample, with the reason beside every line."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import yaml

from data.errors import DataError
from data.inspecting.sample import Sample, is_number

_LABEL_NAMES = (
    "label",
    "click",
    "clicked",
    "is_click",
    "target",
    "y",
    "rating",
    "conversion",
    "converted",
    "stars",
    "score",
)
_TIME_NAME = re.compile(r"(^|_)(ts|time|timestamp|date|datetime|at|day)$", re.IGNORECASE)
_ID_NAME = re.compile(r"(^|_)(id|key|code|uuid)$|Id$|ID$")
_HEX = re.compile(r"[0-9a-fA-F]{8}")
_WEIGHTED_ITEM = re.compile(r"[^:]+:[+-]?(\d+\.?\d*|\.\d+)")
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?Z?)?")
_SEPARATORS = ("|", ";", ",", " ")
_FEW_VALUES = 20
_MANY_IDS = 0.5
_SKEWED = 20.0
_SECONDS_OF_2000, _SECONDS_OF_2100 = 946_684_800, 4_102_444_800


@dataclass(frozen=True)
class _Seen:
    """A column of the sample: its values as texts (lists joined), and what they look like."""

    name: str
    values: list[Any]
    missing_rate: float

    @property
    def texts(self) -> list[str]:
        return [str(value) for value in self.values if not isinstance(value, list)]

    @property
    def num_distinct(self) -> int:
        return len({str(value) for value in self.values})

    @property
    def is_list(self) -> bool:
        return any(isinstance(value, list) for value in self.values)

    @property
    def is_numeric(self) -> bool:
        return bool(self.texts) and not self.is_list and all(is_number(text) for text in self.texts)

    @property
    def is_integer(self) -> bool:
        return self.is_numeric and all(re.fullmatch(r"-?\d{1,18}", text.strip()) for text in self.texts)

    @property
    def numbers(self) -> list[float]:
        return [float(text) for text in self.texts]

    def remark(self) -> str:
        """What was seen, for the comment behind the entry."""
        missing = f", {self.missing_rate:.1%} missing" if self.missing_rate else ""
        if self.is_numeric:
            numbers = self.numbers
            return f"{self.num_distinct:,} values from {min(numbers):g} to {max(numbers):g}{missing}"
        return f"{self.num_distinct:,} different values{missing}, such as {str(self.values[0])[:30]!r}"


def propose_spec(sample: Sample, label: str = "") -> str:
    """YAML of a spec for the sample, with comments. DataError where it holds no rows or the label is not to be found."""
    columns = {name: _seen(name, values) for name, values in sample.columns.items()}
    if not sample.num_rows or not any(column.values for column in columns.values()):
        raise DataError(f"{sample.file} has no rows to look at. Name a file with some.")
    chosen = _label(columns, label, sample)
    times = _time(columns, chosen)
    dense, sparse, left_out = [], [], []
    for column in columns.values():
        if column.name in (chosen.name, times.name if times else ""):
            continue
        if not column.values:
            left_out.append(f"# {column.name}: no value in the sample; left out")
        elif _is_dense(column):
            dense.append(_dense(column))
        else:
            sparse.append(_sparse(column, sample.num_rows))
    lines = [
        f"# Proposed from {sample.num_rows:,} rows of {sample.file.name}: a start to be checked, column by column.",
        *(
            [f"# {sample.num_uneven:,} of them have another number of fields: they will be counted as bad."]
            * bool(sample.num_uneven)
        ),
        "# shardline prepare --spec THIS_FILE --source ... --output ...        What else it can say: docs/data.md",
        "",
        *_format(sample),
        "",
        *_label_lines(chosen),
        *(["", *_time_lines(times)] if times else []),
        *(["", "dense:", *dense] if dense else []),
        "",
        "sparse:",
        *(sparse or ["  []  # none found: a ranker needs at least one, so turn a number above into a sparse feature"]),
        *(["", *left_out] if left_out else []),
    ]
    return "\n".join(lines) + "\n"


def _seen(name: str, values: list[Any]) -> _Seen:
    # NaN is the only value that differs from itself.
    present = [value for value in values if value is not None and value == value]
    return _Seen(name, present, 1 - len(present) / max(1, len(values)))


def _label(columns: dict[str, _Seen], wanted: str, sample: Sample) -> _Seen:
    if wanted:
        if wanted not in columns:
            raise DataError(f"{sample.file} has no column {wanted!r}; it has {', '.join(columns)}.")
        return columns[wanted]
    named = [columns[name] for name in columns if name.lower() in _LABEL_NAMES and columns[name].is_numeric]
    binary = [
        each for each in columns.values() if each.texts and set(each.texts) <= {"0", "1", "0.0", "1.0", "True", "False"}
    ]
    candidates = sorted(named, key=lambda each: _LABEL_NAMES.index(each.name.lower())) or binary
    if not candidates:
        raise DataError(
            f"{sample.file} has no column of 0 and 1, and none with a name like {', '.join(_LABEL_NAMES[:6])}."
            f" Name the label's column: --label COLUMN, one of {', '.join(columns)}."
        )
    return candidates[0]


def _time(columns: dict[str, _Seen], label: _Seen) -> _Seen | None:
    return next((each for each in columns.values() if each is not label and each.values and _time_format(each)), None)


def _time_format(column: _Seen) -> str | None:
    if all(_ISO.fullmatch(text) for text in column.texts) and not column.is_list:
        return "iso"
    if not _TIME_NAME.search(column.name) or not column.is_integer:
        return None
    lowest, highest = min(column.numbers), max(column.numbers)
    if lowest >= _SECONDS_OF_2000 and highest < _SECONDS_OF_2100:
        return "seconds"
    return "milliseconds" if lowest >= 1000 * _SECONDS_OF_2000 and highest < 1000 * _SECONDS_OF_2100 else None


def _is_dense(column: _Seen) -> bool:
    """Numbers that measure something: fractions, or whole numbers of many values under a name that is not an id's."""
    if not column.is_numeric or all(_HEX.fullmatch(text) for text in column.texts):
        return False
    if not column.is_integer:
        return True
    return not _ID_NAME.search(column.name) and column.num_distinct > _FEW_VALUES


def _dense(column: _Seen) -> str:
    numbers = sorted(column.numbers)
    middle = abs(numbers[len(numbers) // 2])
    is_skewed = numbers[0] >= 0 and numbers[-1] > _SKEWED * max(middle, 1.0)
    entry = {"column": column.name, "type": "integer" if column.is_integer else "number"}
    transforms = ["log"] if is_skewed else ["standardise"]
    return _entry(entry | {"transforms": transforms}, column.remark() + (", a long tail" if is_skewed else ""))


def _sparse(column: _Seen, num_rows: int) -> str:
    entry: dict[str, Any] = {"column": column.name}
    separator = _separator(column)
    if column.is_list or separator:
        entry["list"] = True
        items = _items(column, separator)
        if separator and separator != "|":
            entry["separator"] = separator
        if separator and all(_WEIGHTED_ITEM.fullmatch(item) for item in items if item):
            entry["weight_separator"] = ":"
            items = [item.rpartition(":")[0] for item in items]
        lengths = [len(each) for each in _lists(column, separator)]
        return _entry(entry | _ids(items, num_rows), f"lists of {min(lengths)} to {max(lengths)}; {column.remark()}")
    texts = column.texts
    if texts and all(_HEX.fullmatch(text) for text in texts) and any(not text.isdigit() for text in texts):
        entry["type"] = "hex"
    elif column.is_integer:
        entry["type"] = "integer"
    return _entry(entry | _ids(texts, num_rows), column.remark())


def _ids(values: list[str], num_rows: int) -> dict[str, Any]:
    """A vocabulary, unless so many ids are seen but once that most rows would share row 0."""
    counts = Counter(map(str, values))
    num_single = sum(1 for count in counts.values() if count == 1)
    if num_rows >= 100 and num_single > _MANY_IDS * max(1, len(values)):
        return {"ids": "hash", "num_rows": 1_000_000, "seed": 0}
    return {"min_count": 1 if len(counts) <= _FEW_VALUES else 2}


def _separator(column: _Seen) -> str:
    """The separator that cuts many texts into items that come again in other texts."""
    if column.is_list or column.is_numeric:
        return ""
    for separator in _SEPARATORS:
        with_it = [text for text in column.texts if separator in text]
        items = Counter(item for text in column.texts for item in text.split(separator))
        if len(with_it) >= 0.2 * len(column.texts) and len(items) < 0.5 * sum(items.values()) and len(items) > 1:
            return separator
    return ""


def _lists(column: _Seen, separator: str) -> list[list[Any]]:
    return [value if isinstance(value, list) else str(value).split(separator) for value in column.values]


def _items(column: _Seen, separator: str) -> list[str]:
    return [str(item) for items in _lists(column, separator) for item in items]


def _format(sample: Sample) -> list[str]:
    form = sample.format
    if form.kind == "parquet":
        return ["format: parquet"]
    lines = ["format:", f"  kind: {form.kind}"]
    if not form.header:
        lines += ["  header: false", f"  columns: {_flow(list(form.columns))}  # no header: give them their names"]
    if form.delimiter:
        lines.append(f"  delimiter: {_flow(form.delimiter)}")
    if form.quote is not None:
        lines.append(f"  quote: {_flow(form.quote)}")
    if form.missing != ("",):
        lines.append(f"  missing: {_flow(list(form.missing))}")
    return lines


def _label_lines(column: _Seen) -> list[str]:
    lines = ["label:", f"  column: {_flow(column.name)}  # {column.remark()}"]
    values = set(column.texts)
    if column.is_numeric and not values <= {"0", "1", "0.0", "1.0"}:
        numbers = sorted(column.numbers)
        lines.append(
            f"  positive_from: {numbers[len(numbers) // 2]:g}  # the middle one: numbers from here on are label 1"
        )
    return lines


def _time_lines(column: _Seen) -> list[str]:
    return ["timestamp:", f"  column: {_flow(column.name)}  # {column.remark()}", f"  format: {_time_format(column)}"]


def _entry(entry: dict[str, Any], remark: str) -> str:
    return f"  - {_flow(entry)}  # {' '.join(remark.split())}"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()
