"""How a feature's ids are accessed, without the ids: learned from a column, kept as a small file, enough to generate a trace.

Kept are how often each LRU stack distance occurs and how many ids were met by when. Neither says which ids, nor anything of
single rows. Distances up to 128 are kept one by one, larger ones in 64 buckets an octave (hit rates stay within 0.1 points).
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.aside import written_aside
from data.errors import DataError
from data.generating.stack_distances import stack_distances

PATTERN_VERSION = 1
_EXACT_UP_TO, _BUCKETS_PER_OCTAVE = 128, 64
_GROWTH_POINTS = 256


@dataclass(frozen=True, kw_only=True)
class AccessPattern:
    """The access pattern of one feature.

    `num_repeats[i]` accesses have a stack distance from `distances[i]` up to, but not including, `distances[i + 1]`; the last
    bucket ends with `num_ids`. `growth` holds points (accesses so far, distinct ids so far), the last one the whole trace.
    """

    name: str
    num_accesses: int
    num_ids: int
    distances: tuple[int, ...]
    num_repeats: tuple[int, ...]
    growth: tuple[tuple[int, int], ...]
    version: int = PATTERN_VERSION

    @cached_property
    def new_rate(self) -> float:
        """Fraction of the accesses that meet an id for the first time."""
        return self.num_ids / self.num_accesses

    def hit_rates(self, cache_sizes: np.ndarray) -> np.ndarray:
        """Fraction of accesses that an LRU cache of each size hits, as the buckets tell it; float64 [sizes]."""
        if not self.distances:
            return np.zeros(len(cache_sizes))
        ends = np.array([*self.distances[1:], self.num_ids + 1]) - 1
        hits = np.concatenate([[0], np.cumsum(self.num_repeats)])
        return np.interp(cache_sizes, [self.distances[0] - 1, *ends], hits) / self.num_accesses

    def save(self, path: Path) -> None:
        """Write the pattern as JSON; the same pattern gives the same bytes."""
        with written_aside(path) as partial:
            partial.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> "AccessPattern":
        """The pattern in a file that `save` wrote. DataError where there is none, or it is damaged."""
        try:
            values = json.loads(path.read_text())
            pattern = cls(
                **values
                | {name: tuple(values[name]) for name in ("distances", "num_repeats")}
                | {"growth": tuple((int(at), int(ids)) for at, ids in values["growth"])}
            )
            pattern._check()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror}. Expected an access pattern written by learn-trace."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no access pattern, or is damaged ({error}). Learn it again.") from error
        return pattern

    def _check(self) -> None:
        if self.version != PATTERN_VERSION:
            raise ValueError(f"version {self.version}, expected {PATTERN_VERSION}")
        if self.num_ids < 1 or self.num_ids + sum(self.num_repeats) != self.num_accesses:
            raise ValueError("its counts do not add up to its accesses")
        if list(self.distances) != sorted(set(self.distances)) or len(self.distances) != len(self.num_repeats):
            raise ValueError("its distances do not rise, or have not one count each")
        if not self.growth or self.growth[-1] != (self.num_accesses, self.num_ids):
            raise ValueError("its growth does not end with all ids")


def learn(ids: np.ndarray, name: str) -> AccessPattern:
    """The access pattern of a trace of ids (any integers, in the order of access). DataError where it is empty."""
    if not len(ids):
        raise DataError(f"{name} holds no access to learn from. Choose another feature, split or source.")
    distances = stack_distances(ids)
    is_new = distances == 0
    num_ids = int(is_new.sum())
    edges = bucket_edges(num_ids)
    counts = np.bincount(np.searchsorted(edges, distances[~is_new], side="right") - 1, minlength=len(edges))
    used = np.flatnonzero(counts)
    # A bucket that nothing falls into still ends the one before it.
    kept = np.unique(np.concatenate([used, used[used + 1 < len(edges)] + 1])) if len(used) else used
    return AccessPattern(
        name=name,
        num_accesses=len(ids),
        num_ids=num_ids,
        distances=tuple(edges[kept].tolist()),
        num_repeats=tuple(counts[kept].tolist()),
        growth=_growth(is_new),
    )


def bucket_edges(largest: int) -> np.ndarray:
    """Lowest distance of each bucket, int64, up to the bucket that holds `largest`."""
    octaves = max(0, int(largest).bit_length() - _EXACT_UP_TO.bit_length() + 1)
    steps = np.arange(_BUCKETS_PER_OCTAVE) / _BUCKETS_PER_OCTAVE
    coarse = [np.round(_EXACT_UP_TO * 2.0**octave * (1 + steps)).astype(np.int64) for octave in range(octaves)]
    edges = np.concatenate([np.arange(1, _EXACT_UP_TO), *coarse])
    return edges[edges <= max(largest, 1)]


def _growth(is_new: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Distinct ids after so many accesses, at points close together first and evenly spread later."""
    n = len(is_new)
    spread = np.concatenate([np.geomspace(1, n, _GROWTH_POINTS), np.linspace(1, n, _GROWTH_POINTS)])
    at = np.unique(np.round(spread).astype(np.int64))
    return tuple(zip(at.tolist(), np.cumsum(is_new)[at - 1].tolist(), strict=True))
