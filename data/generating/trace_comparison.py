"""A generated trace beside its source: who would notice the difference? A cache first, so hit rates come first."""

from dataclasses import dataclass

import numpy as np

from data.generating.stack_distances import hit_rates, stack_distances

NUM_CACHE_SIZES = 10
_CURVE_POINTS = 60


@dataclass(frozen=True)
class TraceProfile:
    """What a trace looks like to a cache. `curve` float64 [points]: hit rates at the comparison's sizes for drawing.

    `octaves` float64: fraction of accesses with a stack distance of 0 (new), 1, 2-3, 4-7, ...; `growth`: distinct ids after the
    comparison's `accesses`.
    """

    num_ids: int
    hits: np.ndarray
    curve: np.ndarray
    octaves: np.ndarray
    growth: np.ndarray


@dataclass(frozen=True)
class TraceComparison:
    """A source and a trace of the same number of accesses; `sizes` are ten cache sizes, in ids, up to all of the source's."""

    name: str
    num_accesses: int
    sizes: np.ndarray
    curve_sizes: np.ndarray
    accesses: np.ndarray
    source: TraceProfile
    trace: TraceProfile

    @property
    def largest_difference(self) -> float:
        """Of the hit rates at the ten sizes, as a fraction of all accesses."""
        return float(np.abs(self.source.hits - self.trace.hits).max())


def compare_traces(name: str, source: np.ndarray, trace: np.ndarray) -> TraceComparison:
    """Both traces' profiles at the same cache sizes and places; ids of any naming, equally many accesses."""
    assert len(source) == len(trace), f"{name}: {len(source)} accesses beside {len(trace)}"
    distances = stack_distances(source), stack_distances(trace)
    num_ids = int((distances[0] == 0).sum())
    sizes = cache_sizes(num_ids)
    curve_sizes = np.unique(np.round(np.geomspace(1, num_ids, _CURVE_POINTS)).astype(np.int64))
    accesses = np.unique(np.round(np.linspace(1, len(source), _CURVE_POINTS)).astype(np.int64))
    num_octaves = 1 + int(max(each.max() for each in distances)).bit_length()
    profiles = [
        TraceProfile(
            num_ids=int((each == 0).sum()),
            hits=hit_rates(each, sizes),
            curve=hit_rates(each, curve_sizes),
            octaves=np.bincount(_octave(each), minlength=num_octaves) / len(each),
            growth=np.cumsum(each == 0)[accesses - 1],
        )
        for each in distances
    ]
    return TraceComparison(name, len(source), sizes, curve_sizes, accesses, *profiles)


def cache_sizes(num_ids: int) -> np.ndarray:
    """Ten sizes (fewer below ten ids) from one id to all, each about as many times the one before; int64, ascending."""
    return np.unique(np.round(np.geomspace(1, num_ids, NUM_CACHE_SIZES)).astype(np.int64))


def _octave(distances: np.ndarray) -> np.ndarray:
    """0 for new, 1 for distance 1, 2 for 2-3, 3 for 4-7, ..."""
    return np.frexp(distances.astype(np.float64))[1]
