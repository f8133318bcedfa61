"""The rows of the random source: every value is a function of (seed, column, row number) alone.

The distributions are those of the DLRM reference's random data (Naumov et al., arXiv:1906.00091, section 4.1). Two deliberate
differences: dense features may be Gaussian, too, and duplicates in a bag are removed after Gaussian ids were cut to whole
numbers, not before. A draw has 32 bits: in a table of 40 M rows the chances of two ids differ by up to 1 %.

Legend: S steps, B rows of a batch, n = S * B rows in all, F sparse features.
"""

import numpy as np

from data.config import RandomConfig
from data.counter import counters, derive_key, mix
from data.reading.blocks import Block, JaggedBlock, OneHotLayout, empty_one_hot_block, ids_dtype
from data.schema import Schema, SparseFeature

_DENSE, _LABELS, _LOOKUPS, _IDS = range(4)
_24_BITS, _HALF = np.uint64(2**24 - 1), np.uint64(2**31)


def random_schema(config: RandomConfig) -> Schema:
    """Schema of the random source: dense I1, I2, ... and tables C1, C2, ..., with the expected number of ids in a bag."""
    sizes_and_lookups = zip(config.table_sizes, lookups_per_table(config), strict=True)
    sparse = (
        SparseFeature(
            name=f"C{i}", num_embeddings=size, pooling_factor=_mean_ids(size, lookups, config.fixed_num_lookups)
        )
        for i, (size, lookups) in enumerate(sizes_and_lookups, 1)
    )
    return Schema(dense=tuple(f"I{i}" for i in range(1, config.num_dense + 1)), sparse=tuple(sparse))


def lookups_per_table(config: RandomConfig) -> tuple[int, ...]:
    """Ids drawn for a bag of each table (at most that many, where their number is random)."""
    return config.num_lookups * len(config.table_sizes) if len(config.num_lookups) == 1 else config.num_lookups


class RandomRows:
    """Random rows by number. Rows with a number below 0 are padding: label 0, dense 0, one id 0 in each bag."""

    def __init__(self, config: RandomConfig, seed: int) -> None:
        self.schema = random_schema(config)
        self._config, self._seed = config, seed
        self._lookups = lookups_per_table(config)

    def block(self, row_ids: np.ndarray, layout: OneHotLayout) -> Block:
        """The rows of these numbers, int64 [S, B]."""
        num_steps, batch_size = row_ids.shape
        block = empty_one_hot_block(self.schema, num_steps, batch_size, layout)
        bases, padding = counters(row_ids), row_ids < 0
        block.row_ids[:] = row_ids
        self._fill_dense(block.dense, bases)
        self._fill_labels(block.labels, bases)
        if padding.any():
            block.dense[padding], block.labels[padding] = 0.0, 0.0
        if max(self._lookups) > 1:
            values, lengths = self._bags(bases, padding)
            return JaggedBlock(
                block.dense, values, lengths, block.labels, block.row_ids, list(self.schema.sparse_names)
            )
        for feature in range(len(self._lookups)):
            block.ids[:, feature] = self._ids(bases, feature, 0)
        if padding.any():
            np.moveaxis(block.ids, 1, 2)[padding] = 0
        return block

    def _fill_dense(self, dense: np.ndarray, bases: np.ndarray) -> None:
        for column in range(dense.shape[2]):
            hashes = self._hashes(bases, _DENSE, column)
            if self._config.dense_distribution == "gaussian":
                dense[:, :, column] = _normal(hashes)
            else:
                dense[:, :, column] = _top_24_bits(hashes)
        if self._config.dense_distribution == "uniform":
            dense *= np.float32(2**-24)

    def _fill_labels(self, labels: np.ndarray, bases: np.ndarray) -> None:
        hashes = self._hashes(bases, _LABELS)
        if self._config.round_targets:
            labels[:] = hashes >> np.uint64(63)
        else:
            labels[:] = _top_24_bits(hashes)
            labels *= np.float32(2**-24)

    def _ids(self, bases: np.ndarray, feature: int, draw: int) -> np.ndarray:
        """Ids of one feature, of any number type, all whole; the shape of `bases`."""
        hashes = self._hashes(bases, _IDS, feature, draw)
        size, config = self._config.table_sizes[feature], self._config
        if config.ids_distribution == "uniform":
            return _scaled(hashes, size - 1)
        highest = size - 1 if config.ids_max is None else config.ids_max
        mean = (config.ids_min + highest) / 2 if config.ids_mu is None else config.ids_mu
        return np.trunc(np.clip(mean + config.ids_sigma * _normal(hashes).astype(np.float64), config.ids_min, highest))

    def _bags(self, bases: np.ndarray, padding: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The ids of each step, feature by feature (distinct, ascending in a bag), and the bags' lengths, int32 [S, F, B]."""
        num_steps, batch_size = bases.shape
        lengths = np.empty((num_steps, len(self._lookups), batch_size), np.int32)
        columns = []
        for feature in range(len(self._lookups)):
            ids, is_first = self._distinct(bases, padding, feature)
            lengths[:, feature] = is_first.sum(axis=2)
            steps = np.split(ids[is_first], np.cumsum(lengths[:-1, feature].sum(axis=1)))
            columns.append(steps)
        return [np.concatenate(step) for step in zip(*columns, strict=True)], lengths

    def _distinct(self, bases: np.ndarray, padding: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """All draws of each bag in ascending order, and which of them are there for the first time; both [S, B, draws]."""
        num_draws = self._lookups[feature]
        ids = np.empty((*bases.shape, num_draws), ids_dtype(self.schema))
        for draw in range(num_draws):
            ids[:, :, draw] = self._ids(bases, feature, draw)
        if not self._config.fixed_num_lookups:
            # A repetition of the first id stands for a draw that is not made: it goes the way of the duplicates.
            made = self._num_draws(bases, feature)[:, :, None] > np.arange(num_draws)
            ids = np.where(made, ids, ids[:, :, :1])
        ids[padding] = 0
        ids.sort(axis=2)
        is_first = np.ones(ids.shape, bool)
        np.not_equal(ids[:, :, 1:], ids[:, :, :-1], out=is_first[:, :, 1:])
        return ids, is_first

    def _num_draws(self, bases: np.ndarray, feature: int) -> np.ndarray:
        """Draws of each bag: round(r * most), at least one, for r uniform in [0, 1); never more than the table has rows."""
        most = min(self._lookups[feature], self._config.table_sizes[feature])
        return np.maximum(1, _scaled(self._hashes(bases, _LOOKUPS, feature), most))

    def _hashes(self, bases: np.ndarray, *column: int) -> np.ndarray:
        return mix(bases + np.uint64(derive_key(self._seed, *column)))


def _top_24_bits(hashes: np.ndarray) -> np.ndarray:
    """As many bits as a float32 holds exactly; times 2**-24 they are uniform in [0, 1)."""
    return hashes >> np.uint64(40)


def _scaled(hashes: np.ndarray, highest: int) -> np.ndarray:
    """round(r * highest) for r uniform in [0, 1), from the upper 32 bits, in whole numbers; overwrites the hashes."""
    hashes >>= np.uint64(32)
    hashes *= np.uint64(highest)
    hashes += _HALF
    hashes >>= np.uint64(32)
    return hashes


def _normal(hashes: np.ndarray) -> np.ndarray:
    """Standard normal float32, at most 5.9 in size, by Box and Muller: the upper bits make the radius, the lower the angle."""
    uniform = (_top_24_bits(hashes).astype(np.float32) + np.float32(0.5)) * np.float32(2**-24)
    angle = ((hashes >> np.uint64(16)) & _24_BITS).astype(np.float32) * np.float32(2 * np.pi * 2**-24)
    return np.sqrt(np.float32(-2) * np.log(uniform)) * np.cos(angle)


def _mean_ids(size: int, num_lookups: int, is_fixed: bool) -> float:
    """Expected distinct ids of a bag, were all ids equally likely; a random number of draws counts with its mean."""
    if num_lookups == 1:
        return 1.0
    most = min(num_lookups, size)
    draws = num_lookups if is_fixed else (most + 1) / 2 + (1 - most) / (2 * most)
    return size * (1 - (1 - 1 / size) ** draws)
