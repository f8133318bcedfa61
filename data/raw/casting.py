"""Columns of any type as numbers, texts or times: at Arrow's speed where all values are fine, by halves where some are not.

Legend: n values of a column.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data.errors import DataError

# Arrow makes these functions when it is imported: no type checker knows them.
pc: Any = pyarrow.compute

Cast = tuple[pa.Array, np.ndarray | None]
"""The column as another type, null where that cannot be, and which values those are (bool [n]), none where all could."""


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are texts, or bytes that may be texts."""
    return any(
        check(kind)
        for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def as_integers(column: pa.Array, name: str) -> Cast:
    """int64. A NaN is a missing value, as pandas writes it."""
    return _cast(_numeric(column), pa.int64(), name)


def as_numbers(column: pa.Array, name: str) -> Cast:
    """float32, every one of them finite. A NaN is a missing value, as pandas writes it."""
    numbers, bad = _cast(_numeric(column), pa.float64(), name)
    numbers = _without_nan(numbers)
    values = numbers.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    finite = np.isfinite(single)
    missing = numbers.is_null().to_numpy(zero_copy_only=False)
    if not finite.all():
        bad = ~finite if bad is None else bad | ~finite
    return pa.array(single, mask=missing | ~finite), bad


def as_texts(column: pa.Array, name: str) -> Cast:
    """UTF-8 texts."""
    return _cast(column, pa.string(), name)


def as_seconds(column: pa.Array, form: str, name: str) -> Cast:
    """int64 seconds since 1970, UTC; times without a zone are taken as UTC. `form` as in the spec's timestamp."""
    if pa.types.is_temporal(column.type):
        times, bad = _cast(column, pa.timestamp("s"), name, is_safe=False)
    elif form in ("seconds", "milliseconds"):
        seconds, bad = as_integers(column, name)
        return (seconds if form == "seconds" else _floor_thousand(seconds)), bad
    else:
        texts, not_text = as_texts(column, name)
        times, bad = _times(texts, form, name)
        bad = not_text if bad is None else bad if not_text is None else bad | not_text
    return times.cast(pa.int64()), bad


def _floor_thousand(milliseconds: pa.Array) -> pa.Array:
    missing = milliseconds.is_null().to_numpy(zero_copy_only=False)
    return pa.array(milliseconds.fill_null(0).to_numpy() // 1000, mask=missing)


def _times(texts: pa.Array, form: str, name: str) -> Cast:
    if form == "iso":
        return _cast(pc.replace_substring_regex(texts, "Z$", ""), pa.timestamp("s"), name)
    times = pc.strptime(texts, format=form, unit="s", error_is_null=True)
    bad = pc.and_(times.is_null(), texts.is_valid()).to_numpy(zero_copy_only=False)
    return times, bad if bad.any() else None


def _numeric(column: pa.Array) -> pa.Array:
    """Texts without blanks around them, as Arrow's CSV reader takes numbers; numbers without NaN."""
    if pa.types.is_floating(column.type):
        return _without_nan(column)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column, bad = _cast(column, pa.string(), "")
        if bad is not None:
            # No number either: some text that no cast takes stands for what is not even text.
            column = pc.if_else(pa.array(bad), pa.scalar("?"), column)
    return pc.ascii_trim(column, " \t") if is_text(column.type) else column


def _without_nan(column: pa.Array) -> pa.Array:
    is_nan = pc.is_nan(column)
    return pc.if_else(is_nan, pa.scalar(None, column.type), column) if pc.any(is_nan).as_py() else column


def _cast(column: pa.Array, kind: pa.DataType, name: str, is_safe: bool = True) -> Cast:
    if column.type == kind:
        return column, None
    try:
        return column.cast(kind, safe=is_safe), None
    except pa.ArrowNotImplementedError as error:
        raise DataError(
            f"Column {name!r} is of type {column.type}, which cannot be read as {kind}. Correct the column's type in the spec."
        ) from error
    except pa.ArrowInvalid:
        bad = np.zeros(len(column), dtype=bool)
        bad[_failing(column, lambda piece: piece.cast(kind, safe=is_safe), 0)] = True
        mended = pc.if_else(pa.array(bad), pa.scalar(None, column.type), column)
        return mended.cast(kind, safe=is_safe), bad


def _failing(column: pa.Array, cast: Callable[[pa.Array], pa.Array], first: int) -> list[int]:
    """Places of the values that cannot be cast: what fails is halved until one value is left."""
    try:
        cast(column)
        return []
    except pa.ArrowInvalid:
        if len(column) == 1:
            return [first]
    half = len(column) // 2
    return _failing(column[:half], cast, first) + _failing(column[half:], cast, first + half)
