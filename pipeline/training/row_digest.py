"""Which rows a run has seen, in which order, as one number that does not depend on the number of ranks.

A step's part is a sum of hashes of (row id, place in the global batch), so that ranks add up their shares in any order; the
digest chains the parts of all steps, so that it tells their order apart.

Legend: B rows of a rank's batch.
"""

import hashlib
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

_MULTIPLIERS = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
"""The constants of splitmix64 as signed 64-bit numbers."""
_MASK = (1 << 40) - 1
"""A row's hash has 40 bits: the sum over a global batch of up to 2**22 rows stays within 63."""

_ROWS_AT_ONCE = 16_384
"""Rows that are kept before they are counted: a small batch has far less work in it than calls."""


@dataclass(frozen=True)
class RowsSeen:
    """The digest over all steps, in hex, and the part of the last one (-1 before the first)."""

    digest: str = ""
    last_step: int = -1


NOTHING_SEEN = RowsSeen()


class RowDigest:
    """The digest of the rows that training has seen so far, going on from `seen`."""

    def __init__(self, seen: RowsSeen, rank: int) -> None:
        self._seen, self._rank = seen, rank
        self._sums: list[Tensor] = []

        self._kept = torch.empty(0, 0, dtype=torch.int64)
        self._num_kept = 0

    def add(self, row_ids: Tensor) -> None:
        """Count a step in: this rank's row ids, int64 [B], the rank's share of the global batch."""
        if self._num_kept == len(self._kept) or self._kept.shape[1] != len(row_ids):
            self._count_kept()
            steps = max(1, _ROWS_AT_ONCE // len(row_ids))
            if self._kept.shape != (steps, len(row_ids)):
                self._kept = row_ids.new_empty(steps, len(row_ids))
        if row_ids.device.type == "cpu":
            self._kept.numpy()[self._num_kept] = row_ids.numpy()  # a fraction of what an operation of torch takes
        else:
            self._kept[self._num_kept] = row_ids
        self._num_kept += 1

    def seen(self) -> RowsSeen:
        """What all ranks have seen up to here; a collective."""
        self._count_kept()
        if self._sums:
            sums = torch.cat(self._sums)
            self._sums.clear()
            dist.all_reduce(sums)
            for part in sums.tolist():
                self._seen = RowsSeen(_chained(self._seen.digest, part), part)
        return self._seen

    def _count_kept(self) -> None:
        if self._num_kept:
            self._sums.append(step_part(self._kept[: self._num_kept], self._rank))
            self._num_kept = 0


def step_part(row_ids: Tensor, rank: int) -> Tensor:
    """A rank's share of a step's part of the digest, int64; the shares of all ranks add up to the part.

    `row_ids` are int64 [B], or [S, B] of as many steps, which give S parts.
    """
    size = row_ids.shape[-1]
    places = torch.arange(size, device=row_ids.device) + rank * size
    hashed = row_ids + places * _MULTIPLIERS[0]
    for multiplier in _MULTIPLIERS[1:]:
        hashed = (hashed ^ (hashed >> 31)) * multiplier
    return ((hashed ^ (hashed >> 29)) & _MASK).sum(dim=-1)


def _chained(digest: str, part: int) -> str:
    return hashlib.sha256(f"{digest} {part}".encode()).hexdigest()
