"""The account of bad lines: every line read is either kept or counted here by kind."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data.errors import DataError

# With this many bad lines, and too many for what was read so far, reading on would teach nothing new.
_GIVE_UP_AT = 100_000

CRITEO_LINES = "Expected lines of label (0 or 1), 13 integers, 26 ids of 8 hex digits, between tabs, ended by LF."


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """The first line of its kind: where it is and how it begins."""

    kind: str
    file: str
    line: int
    example: str


@dataclass(frozen=True)
class TimeSpan:
    """When the rows of a block happened, whose times do not go back: seconds, and where the block begins."""

    first: int
    last: int
    file: str
    line: int


class Block(Protocol):
    """A piece of a raw file, of any format."""

    @property
    def num_source_bytes(self) -> int: ...

    @property
    def num_lines(self) -> int: ...


class Rows(Protocol):
    """What was parsed of a block: its good rows, and a count of the bad ones."""

    @property
    def row_ids(self) -> np.ndarray: ...

    @property
    def bad_counts(self) -> Counter[str]: ...

    @property
    def bad_lines(self) -> tuple[BadLine, ...]: ...

    @property
    def time_span(self) -> TimeSpan | None: ...


@dataclass(frozen=True)
class BlockAccount:
    """What the account needs of a block, without holding on to its text or rows."""

    num_source_bytes: int
    num_lines: int
    num_kept: int
    bad_counts: Counter[str]
    bad_lines: tuple[BadLine, ...]
    time_span: TimeSpan | None = None

    @classmethod
    def of(cls, block: Block, rows: Rows) -> "BlockAccount":
        return cls(
            block.num_source_bytes,
            block.num_lines,
            len(rows.row_ids),
            rows.bad_counts,
            rows.bad_lines,
            rows.time_span,
        )


class BadLines:
    """Counts by kind, with the first of each kind, over the blocks in order."""

    def __init__(self, max_fraction: float, expected: str = CRITEO_LINES) -> None:
        self._max_fraction, self._expected = max_fraction, expected
        self._last_time: int | None = None
        self._num_kept = 0
        self._firsts: dict[str, BadLine] = {}
        self.counts: Counter[str] = Counter()

    @property
    def num_lines(self) -> int:
        return self._num_kept + self.counts.total()

    def add(self, block: BlockAccount) -> None:
        """Take a block into account. DataError where going on is pointless."""
        self._check_time(block.time_span)
        self._num_kept += block.num_kept
        self.counts.update(block.bad_counts)
        for bad in block.bad_lines:
            self._firsts.setdefault(bad.kind, bad)
        if self.counts.total() >= _GIVE_UP_AT:
            self.check()

    def check(self) -> None:
        """DataError where the fraction of bad lines is above the accepted one."""
        if self.counts.total() > self._max_fraction * self.num_lines:
            raise DataError(self._message())

    def _check_time(self, span: TimeSpan | None) -> None:
        if span is None:
            return
        if self._last_time is not None and span.first < self._last_time:
            raise out_of_order(span.file, span.line, self._last_time, span.first)
        self._last_time = span.last

    def _message(self) -> str:
        num_bad, fraction = self.counts.total(), self.counts.total() / self.num_lines
        kinds = "\n".join(
            f"  {count:,} x {kind}, first at {self._firsts[kind].file}:{self._firsts[kind].line}: {self._firsts[kind].example}"
            for kind, count in self.counts.most_common()
        )
        return (
            f"{num_bad:,} of {self.num_lines:,} lines read are bad ({fraction:.3g}), accepted is a fraction of"
            f" {self._max_fraction:g}:\n{kinds}\n"
            f"{self._expected}\n"
            f"Mend them, or accept them with max_bad_fraction={_round_up(fraction):g}. Nothing was written."
        )


def out_of_order(file: str, line: int, before: int, found: int) -> DataError:
    """What to say of rows whose times go back, in seconds since 1970."""
    return DataError(
        f"{file}:{line} happened at {found}, a row before it at {before} (seconds since 1970). The spec says that rows come in"
        " the order of time: sort them, or take `ordered` out of the spec."
    )


def _round_up(fraction: float) -> float:
    """A fraction of two digits that is not below the given one."""
    scale = 10.0 ** (len(f"{1 / fraction:.0f}") + 1)
    return min(0.999, (int(fraction * scale) + 1) / scale)
