"""How the lookups of a table are spread over its rows. Light: no torch here.

Known are shares of the lookups that fall on the k most frequent rows, for a few k. Between two of them the share grows with a
power of k: with k itself where rows are looked up evenly, slower the more skewed they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_STEPS_PER_TENFOLD = 6

TopShares = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class TableAccess:
    """The rows of a table in groups of about equally frequent ones, the most frequent first: (rows, share of the lookups)."""

    groups: tuple[tuple[float, float], ...]
    is_ordered: bool
    """Whether rows lie in the table in the order of their frequency, as those of a fitted id map do."""

    @property
    def num_rows(self) -> float:
        return sum(rows for rows, _ in self.groups)

    def share(self, first: float, stop: float) -> float:
        """The share of the lookups that falls on the rows from `first` to before `stop`."""
        if not self.is_ordered:
            return (stop - first) / self.num_rows if self.num_rows else 0.0
        return sum(share * part for _, share, part in self._within(first, stop))

    def distinct(self, lookups: float, first: float = 0, stop: float = math.inf) -> float:
        """Expected distinct rows among so many lookups of the whole table, of the rows from `first` to before `stop`."""
        return sum(
            rows * part * -math.expm1(lookups * math.log1p(-min(share / rows, 1 - 1e-12)))
            for rows, share, part in self._within(first, stop)
        )

    def _within(self, first: float, stop: float) -> list[tuple[float, float, float]]:
        """Rows and share of each group, and the part of it that lies within the rows asked for."""
        stop = min(stop, self.num_rows)
        if not self.is_ordered:
            part = (stop - first) / self.num_rows if self.num_rows else 0.0
            return [(rows, share, part) for rows, share in self.groups]
        found, start = [], 0.0
        for rows, share in self.groups:
            inside = min(stop, start + rows) - max(first, start)
            if inside > 0:
                found.append((rows, share, inside / rows))
            start += rows
        return found


@lru_cache(maxsize=4096)
def access_of(num_rows: int, top_shares: TopShares = (), is_ordered: bool = False) -> TableAccess:
    """The access of a table whose k most frequent rows take a share of the lookups, for (k, share) ascending; even without."""
    points = [(0, 0.0), *((count, share) for count, share in top_shares if count < num_rows), (num_rows, 1.0)]
    groups: list[tuple[float, float]] = []
    for (start, below), (stop, above) in pairwise(points):
        groups += _split(start, stop, below, max(above, below))
    return TableAccess(tuple(groups), is_ordered)


def _split(start: int, stop: int, below: float, above: float) -> list[tuple[float, float]]:
    """The rows behind `start` up to `stop` in groups of growing size, the share up to each on the power law between the ends."""
    if start == 0 or below <= 0 or stop <= 2 * start:
        return [(stop - start, above - below)]
    num_groups = max(1, round(math.log10(stop / start) * _STEPS_PER_TENFOLD))
    edges = [start * (stop / start) ** (i / num_groups) for i in range(num_groups + 1)]
    shares = [below * (above / below) ** (i / num_groups) for i in range(num_groups + 1)]
    return [
        (high - low, more - less) for (low, high), (less, more) in zip(pairwise(edges), pairwise(shares), strict=True)
    ]


def top_shares_of(counts: Sequence[int], shares: Sequence[float]) -> TopShares:
    """(k, share) pairs that grow in both; those that add nothing are left out."""
    kept: list[tuple[int, float]] = []
    for count, share in sorted(zip(counts, shares, strict=True)):
        if not kept or (count > kept[-1][0] and share >= kept[-1][1]):
            kept.append((count, min(float(share), 1.0)))
    return tuple(kept)
