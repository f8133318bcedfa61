"""Which rows of a split make up global step k: a function of (rows, seed, global batch size) alone, never of the ranks.

The rows of a split form a ring that each epoch enters elsewhere. It is cut into L equal lanes, each lane into windows, each
window is shuffled, and every step takes the same number of rows from every lane:

    ring      |- lane 0 ---------------|- lane 1 ---------------|- ... -|- lane L-1 -------------|-left over-|
    lane      |- window 0 -|- window 1 -|- ... |
    step k     rows k*b .. (k+1)*b - 1 of every shuffled lane

A rank owns lanes_per_rank neighbouring lanes and so reads its share of the rows only. Everything follows from the step number:
resuming is arithmetic. Fewer than B rows are left out of an epoch, others in each epoch.

Legend: N rows of the split, B global batch size, L lanes, n rows of a lane, b = B / L rows of a lane per step.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import NamedTuple

import numpy as np

from data.counter import counters, derive_key, derive_keys, mix

FEWEST_LANES, MOST_LANES, ROWS_PER_LANE = 32, 240, 64
"""Bounds of the lanes, and the rows of a batch for which there is one more lane.

A lane keeps a row group in memory, so a small batch, which few ranks share, has fewer of them.
"""
DEFAULT_WINDOW_ROWS = 65_536
_RING, _SHUFFLE = 0, 1


class Position(NamedTuple):
    """Where a global step lies: its epoch, the window in that epoch, the step in that window."""

    epoch: int
    window: int
    step_in_window: int


@dataclass(frozen=True, kw_only=True)
class SampleOrder:
    """The order of a split's rows. `window_rows` is how many rows, over all lanes, are shuffled together."""

    num_rows: int
    global_batch_size: int
    seed: int
    window_rows: int = DEFAULT_WINDOW_ROWS

    @cached_property
    def num_lanes(self) -> int:
        return num_lanes(self.global_batch_size)

    @cached_property
    def lane_rows(self) -> int:
        """n: rows in a lane."""
        return self.num_rows // self.num_lanes

    @cached_property
    def lane_step_rows(self) -> int:
        """b: rows that a step takes from a lane."""
        return self.global_batch_size // self.num_lanes

    @cached_property
    def steps_per_epoch(self) -> int:
        return self.num_rows // self.global_batch_size

    @cached_property
    def steps_per_window(self) -> int:
        """Windows hold whole steps, at least one; about `window_rows` rows over all lanes."""
        return max(1, self.window_rows // self.global_batch_size)

    @cached_property
    def num_windows(self) -> int:
        """Windows of an epoch that steps draw from."""
        return -(-self.steps_per_epoch // self.steps_per_window)

    def locate(self, step: int) -> Position:
        """Where global step `step` lies; needs at least one step per epoch."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        return Position(epoch, *divmod(step_in_epoch, self.steps_per_window))

    def window_span(self, window: int) -> tuple[int, int]:
        """First row and number of rows of a window, counted from the start of any lane. The last window takes what is left."""
        size = self.steps_per_window * self.lane_step_rows
        start = window * size
        return start, (self.lane_rows - start if window == self.num_windows - 1 else size)

    def steps_in_window(self, window: int) -> int:
        return min(self.steps_per_window, self.steps_per_epoch - window * self.steps_per_window)

    def lane_starts(self, epoch: int) -> np.ndarray:
        """Row of the split at which each lane begins in this epoch; row 0 comes behind the split's last. int64 [L]."""
        offset = derive_key(self.seed, _RING, epoch) % self.num_rows
        return (offset + np.arange(self.num_lanes) * self.lane_rows) % self.num_rows

    def shuffle(self, epoch: int, window: int, lanes: range) -> np.ndarray:
        """For each step of the window and each lane, the b places inside the window to take; int64 [steps, lanes, b].

        Sorting hashes shuffles evenly; a place is kept in the low bits of its hash, so no two can tie.
        """
        size = self.window_span(window)[1]
        low_bits = np.uint64((1 << (size - 1).bit_length()) - 1)
        lane_keys = derive_keys(derive_key(self.seed, _SHUFFLE, epoch, window), np.arange(lanes.start, lanes.stop))
        places = np.arange(size, dtype=np.uint64)
        hashes = mix(counters(places)[None, :] + lane_keys[:, None])
        hashes &= ~low_bits
        hashes |= places
        hashes.sort(axis=1)
        steps = self.steps_in_window(window)
        taken = (hashes[:, : steps * self.lane_step_rows] & low_bits).astype(np.int64)
        return taken.reshape(len(lanes), steps, self.lane_step_rows).transpose(1, 0, 2)

    def step_rows(self, step: int) -> np.ndarray:
        """Row numbers within the split of one global step, lane by lane; int64 [L, b]. The reader works window by window."""
        epoch, window, step_in_window = self.locate(step)
        places = self.shuffle(epoch, window, range(self.num_lanes))[step_in_window]
        starts = self.lane_starts(epoch)[:, None] + self.window_span(window)[0]
        return (starts + places) % self.num_rows


def num_lanes(global_batch_size: int) -> int:
    """L: a divisor of the global batch size that many numbers of ranks divide, powers of two before all.

    It lies between half of a bound and the bound where there is such a divisor, and is the largest one below otherwise. The
    bound is 32 lanes up to a batch of 2,048 rows, and grows with the batch to 240.
    """
    bound = min(MOST_LANES, max(FEWEST_LANES, global_batch_size // ROWS_PER_LANE))
    candidates = [lanes for lanes in divisors(global_batch_size) if lanes <= bound]
    upper_half = [lanes for lanes in candidates if lanes > bound // 2]
    return max(upper_half or candidates[-1:], key=lambda lanes: (lanes & -lanes, len(divisors(lanes)), lanes))


def usable_ranks(global_batch_size: int) -> list[int]:
    """The numbers of ranks that can share this global batch: the divisors of its lanes."""
    return divisors(num_lanes(global_batch_size))


def divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    small = [divisor for divisor in range(1, isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})
