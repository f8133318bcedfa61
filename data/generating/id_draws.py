"""Ids of the random source by row number: from a distribution, or from a generated trace.

Legend: rows of any shape; the ids have the same.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.config import RandomConfig
from data.counter import counters, derive_key, mix
from data.generating.pattern_files import load_patterns, one_trace
from data.generating.skewed import pareto_rows, zipf
from data.trace_config import TraceConfig

_24_BITS, _HALF = np.uint64(2**24 - 1), np.uint64(2**31)
_IDS = 3
_SAMPLED_BAGS = 4096


@dataclass(frozen=True)
class Table:
    """One table of the random source: its feature's name, its rows, the ids drawn for a bag."""

    name: str
    size: int
    num_lookups: int


class IdDraws:
    """Draws ids: the same for the same (seed, table, row, draw). A draw that is no trace's has 32 bits, or 53 if skewed."""

    def __init__(self, config: RandomConfig, tables: tuple[Table, ...], seed: int) -> None:
        self._config, self._tables, self._seed = config, tables, seed

    def ids(self, row_ids: np.ndarray, bases: np.ndarray, feature: int, draw: int) -> np.ndarray:
        """Ids of one feature, of any number type, all whole. `bases`: the rows' counters."""
        table = self._tables[feature]
        if self._config.ids_distribution == "trace":
            trace = _trace(self._config.trace, feature, self._config.trace_rows * table.num_lookups, self._seed)
            return trace[np.maximum(row_ids, 0) % self._config.trace_rows * table.num_lookups + draw]
        hashes = mix(bases + np.uint64(derive_key(self._seed, _IDS, feature, draw)))
        match self._config.ids_distribution:
            case "gaussian":
                return self._gaussian(hashes, table)
            case "zipf":
                return zipf(table.size, self._config.ids_skew).ranks(_uniforms(hashes))
            case "pareto":
                return pareto_rows(_uniforms(hashes), table.size, self._config.ids_skew)
        return scaled(hashes, table.size - 1)

    def mean_distinct(self, feature: int) -> float:
        """Mean number of distinct ids in a bag of all the draws, over some thousand bags: skewed ids repeat often."""
        rows = np.arange(_SAMPLED_BAGS)
        bases = counters(rows)
        drawn = [self.ids(rows, bases, feature, draw) for draw in range(self._tables[feature].num_lookups)]
        ascending = np.sort(np.stack(drawn), axis=0)
        return 1.0 + float((np.diff(ascending, axis=0) != 0).sum(axis=0).mean())

    def _gaussian(self, hashes: np.ndarray, table: Table) -> np.ndarray:
        config = self._config
        highest = table.size - 1 if config.ids_max is None else config.ids_max
        mean = (config.ids_min + highest) / 2 if config.ids_mu is None else config.ids_mu
        return np.trunc(np.clip(mean + config.ids_sigma * normal(hashes).astype(np.float64), config.ids_min, highest))


@lru_cache(maxsize=256)
def _trace(config: TraceConfig, feature: int, num_accesses: int, seed: int) -> np.ndarray:
    """A feature's trace, int32, made once for all the readers of a process."""
    return one_trace(config, load_patterns(config.patterns)[feature], num_accesses, seed, feature)


def scaled(hashes: np.ndarray, highest: int) -> np.ndarray:
    """round(r * highest) for r uniform in [0, 1), from the upper 32 bits, in whole numbers; overwrites the hashes."""
    hashes >>= np.uint64(32)
    hashes *= np.uint64(highest)
    hashes += _HALF
    hashes >>= np.uint64(32)
    return hashes


def top_24_bits(hashes: np.ndarray) -> np.ndarray:
    """As many bits as a float32 holds exactly; times 2**-24 they are uniform in [0, 1)."""
    return hashes >> np.uint64(40)


def normal(hashes: np.ndarray) -> np.ndarray:
    """Standard normal float32, at most 5.9 in size, by Box and Muller: the upper bits make the radius, the lower the angle."""
    uniform = (top_24_bits(hashes).astype(np.float32) + np.float32(0.5)) * np.float32(2**-24)
    angle = ((hashes >> np.uint64(16)) & _24_BITS).astype(np.float32) * np.float32(2 * np.pi * 2**-24)
    return np.sqrt(np.float32(-2) * np.log(uniform)) * np.cos(angle)


def _uniforms(hashes: np.ndarray) -> np.ndarray:
    """float64 in [0, 1), from the upper 53 bits."""
    return (hashes >> np.uint64(11)) * 2.0**-53
