"""One-hot ids made into bags of a fixed size, after MLPerf's synthetic multi-hot data for DLRM-DCNv2.

There, every row of a table has a fixed list of companions that come with it whenever it is looked up: the row itself first, the
others drawn once, uniformly or by a Pareto distribution with exponent 0.25 taken modulo the table. Here the draws are
computed from (seed, feature, row, place) instead of stored, so they take no memory and no order of drawing can change them.

Legend: n rows of a block, k ids of a bag.
"""

import zlib

import numpy as np

from data.counter import counters, derive_key, mix
from data.spec.feature_spec import MultiHotSpec

PARETO_EXPONENT = 0.25


def multi_hot_rows(rows: np.ndarray, spec: MultiHotSpec, feature: str, num_rows: int) -> np.ndarray:
    """int32 [n * k], bag after bag: each of the table rows int32 [n], and the k - 1 that always come with it."""
    bags = np.empty((len(rows), spec.size), np.int32)
    bags[:, 0] = rows
    bases = counters(rows)
    name = zlib.crc32(feature.encode())
    for place in range(1, spec.size):
        hashes = mix(bases + np.uint64(derive_key(spec.seed, name, place)))
        bags[:, place] = _draw(hashes, spec, num_rows)
    return bags.reshape(-1)


def _draw(hashes: np.ndarray, spec: MultiHotSpec, num_rows: int) -> np.ndarray:
    """Rows of the table but row 0, which is for missing ids; row 0 where the table has no other."""
    if num_rows < 2:
        return np.zeros(len(hashes), np.int32)
    if spec.distribution == "uniform":
        return ((hashes >> np.uint64(32)) * np.uint64(num_rows - 1) >> np.uint64(32)).astype(np.int32) + 1
    uniform = ((hashes >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    # Numbers from 0 on with a tail of 1 / (1 + x) ** 0.25: some are beyond any integer, and wrap around like the others.
    drawn = np.floor(uniform ** (-1 / PARETO_EXPONENT) - 1)
    return np.fmod(drawn, num_rows - 1).astype(np.int32) + 1
