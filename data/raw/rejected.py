"""Which rows of a block are bad, and why: the first fault that is found in a row is the one that counts.

Legend: n rows of a block.
"""

from collections import Counter

import numpy as np

WRONG_FIELDS, CUT_OFF, NOT_UTF8 = "wrong number of fields", "truncated file", "not UTF-8"
STRAY_CR, OPEN_QUOTE = "stray carriage return", "line end within quotes"
BAD_LABEL, BAD_ROW_ID, BAD_TIME = "bad label", "bad row id", "bad timestamp"
BAD_INTEGER, BAD_NUMBER, BAD_HEX = "bad integer", "bad number", "bad hex"
BEYOND_TABLE, LIST_TOO_LONG = "id beyond its table", "list too long"
BAD_WEIGHTS, BAD_WEIGHT = "weights do not match ids", "bad weight"


class Rejected:
    """Faults by row; rows are those of the block, n of them."""

    def __init__(self, num_rows: int) -> None:
        self._kinds: list[str] = []
        self._kind_of = np.full(num_rows, -1, dtype=np.int8)

    def add(self, kind: str, rows: np.ndarray) -> None:
        """Call these rows bad: their numbers, or a mask over all of them. Rows that are bad already keep their fault."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        rows = rows[self._kind_of[rows] < 0]
        if len(rows):
            if kind not in self._kinds:
                self._kinds.append(kind)
            self._kind_of[rows] = self._kinds.index(kind)

    @property
    def any(self) -> bool:
        return bool(self._kinds)

    def good(self) -> np.ndarray:
        """bool [n]: rows without a fault."""
        return self._kind_of < 0

    def counts(self) -> Counter[str]:
        return Counter({kind: int(np.count_nonzero(self._kind_of == i)) for i, kind in enumerate(self._kinds)})

    def firsts(self) -> dict[str, int]:
        """The first row of each kind."""
        return {kind: int(np.argmax(self._kind_of == i)) for i, kind in enumerate(self._kinds)}
