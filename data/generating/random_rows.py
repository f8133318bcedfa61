"""The rows of the random source: every value is a function of (seed, column, row number) alone.

The distributions are those of the DLRM reference's random data (Naumov et al., arXiv:1906.00091, section 4.1). Two deliberate
differences: dense features may be Gaussian, too, and duplicates in a bag are removed after Gaussian ids were cut to whole
numbers, not before. A uniform id has 32 bits: in a table of 40 M rows the chances of two ids differ by up to 1 %.

Legend: S steps, B rows of a batch, n = S * B rows in all, F sparse features.
"""

from itertools import pairwise

import numpy as np

from data.config import RandomConfig
from data.counter import counters, derive_key, mix
from data.errors import ConfigError
from data.generating.id_draws import IdDraws, Table, normal, scaled, top_24_bits
from data.generating.pattern_files import load_patterns
from data.reading.blocks import Block, JaggedBlock, OneHotLayout, empty_one_hot_block, ids_dtype
from data.schema import Schema, SparseFeature

_DENSE, _LABELS, _LOOKUPS = range(3)


def random_schema(config: RandomConfig) -> Schema:
    """Schema of the random source: dense I1, I2, ... and tables C1, C2, ... with the expected number of ids in a bag.

    With traces, the tables are those of the learned patterns, by their names.
    """
    sparse = (
        SparseFeature(name=table.name, num_embeddings=table.size, pooling_factor=pooling_factor)
        for table, pooling_factor in zip(random_tables(config), _mean_ids(config), strict=True)
    )
    return Schema(dense=tuple(f"I{i}" for i in range(1, config.num_dense + 1)), sparse=tuple(sparse))


def random_tables(config: RandomConfig) -> tuple[Table, ...]:
    """The tables of the random source. ConfigError where there is not one number of lookups for each, or for all."""
    if config.ids_distribution == "trace":
        names_and_sizes = [(pattern.name, pattern.num_ids) for pattern in load_patterns(config.trace.patterns)]
    else:
        names_and_sizes = [(f"C{i}", size) for i, size in enumerate(config.table_sizes, 1)]
    lookups = config.num_lookups * (len(names_and_sizes) if len(config.num_lookups) == 1 else 1)
    if len(lookups) != len(names_and_sizes):
        raise ConfigError(
            f"random.num_lookups has {len(lookups)} numbers for {len(names_and_sizes)} tables; expected one for each, or one"
            " for all."
        )
    return tuple(Table(name, size, most) for (name, size), most in zip(names_and_sizes, lookups, strict=True))


class RandomRows:
    """Random rows by number. Rows with a number below 0 are padding: label 0, dense 0, one id 0 in each bag."""

    def __init__(self, config: RandomConfig, seed: int) -> None:
        self.schema = random_schema(config)
        self._config, self._seed, self._tables = config, seed, random_tables(config)
        self._draws = IdDraws(config, self._tables, seed)

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
        if any(table.num_lookups > 1 for table in self._tables):
            values, lengths = self._bags(row_ids, bases)
            return JaggedBlock(
                block.dense, values, lengths, block.labels, block.row_ids, list(self.schema.sparse_names)
            )
        for feature in range(len(self._tables)):
            block.ids[:, feature] = self._draws.ids(row_ids, bases, feature, 0)
        if padding.any():
            np.moveaxis(block.ids, 1, 2)[padding] = 0
        return block

    def _fill_dense(self, dense: np.ndarray, bases: np.ndarray) -> None:
        for column in range(dense.shape[2]):
            hashes = self._hashes(bases, _DENSE, column)
            if self._config.dense_distribution == "gaussian":
                dense[:, :, column] = normal(hashes)
            else:
                dense[:, :, column] = top_24_bits(hashes)
        if self._config.dense_distribution == "uniform":
            dense *= np.float32(2**-24)

    def _fill_labels(self, labels: np.ndarray, bases: np.ndarray) -> None:
        hashes = self._hashes(bases, _LABELS)
        if self._config.round_targets:
            labels[:] = hashes >> np.uint64(63)
        else:
            labels[:] = top_24_bits(hashes)
            labels *= np.float32(2**-24)

    def _bags(self, row_ids: np.ndarray, bases: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The ids of each step, feature by feature (distinct, ascending in a bag), and the bags' lengths, int32 [S, F, B]."""
        num_steps, batch_size = bases.shape
        lengths = np.empty((num_steps, len(self._tables), batch_size), np.int32)
        columns = []
        for feature in range(len(self._tables)):
            ids, is_first = self._distinct(row_ids, bases, feature)
            lengths[:, feature] = _counts(is_first).reshape(bases.shape)
            ends = np.cumsum(lengths[:, feature].sum(axis=1)).tolist()
            # By their places: a mask that no processor can guess takes three times as long.
            kept = ids.ravel()[np.flatnonzero(is_first)]
            columns.append([kept[start:end] for start, end in pairwise((0, *ends))])
        return [np.concatenate(step) for step in zip(*columns, strict=True)], lengths

    def _distinct(self, row_ids: np.ndarray, bases: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """All draws of each bag in ascending order, and which of them are there for the first time; both [n, draws]."""
        drawn = np.empty((self._tables[feature].num_lookups, *bases.shape), ids_dtype(self.schema))
        num_draws = None if self._config.fixed_num_lookups else self._num_draws(bases, feature).astype(drawn.dtype)
        for draw in range(len(drawn)):
            drawn[draw] = self._draws.ids(row_ids, bases, feature, draw)
            if draw and num_draws is not None:
                # A repetition of the first id stands for a draw that is not made: it goes the way of the duplicates.
                drawn[draw] ^= (drawn[draw] ^ drawn[0]) & -(num_draws <= draw).astype(drawn.dtype)
        drawn[:, row_ids < 0] = 0
        bags = np.ascontiguousarray(drawn.reshape(len(drawn), -1).T)
        bags.sort(axis=1)
        is_first = np.ones(bags.shape, bool)
        np.not_equal(bags.ravel()[1:], bags.ravel()[:-1], out=is_first.ravel()[1:])
        is_first[:, 0] = True
        return bags, is_first

    def _num_draws(self, bases: np.ndarray, feature: int) -> np.ndarray:
        """Draws of each bag: round(r * most), at least one, for r uniform in [0, 1); never more than the table has rows."""
        most = min(self._tables[feature].num_lookups, self._tables[feature].size)
        return np.maximum(1, scaled(self._hashes(bases, _LOOKUPS, feature), most))

    def _hashes(self, bases: np.ndarray, *column: int) -> np.ndarray:
        return mix(bases + np.uint64(derive_key(self._seed, *column)))


def _counts(is_first: np.ndarray) -> np.ndarray:
    """How many are true in each row, [n] from [n, draws]; `sum` takes five times as long over few columns."""
    return np.einsum("ij->i", is_first.view(np.uint8), dtype=np.min_scalar_type(is_first.shape[1]))


def _mean_ids(config: RandomConfig) -> list[float]:
    """Expected distinct ids in a bag of each table: were all ids equally likely, or, of skewed ones, in a sample of bags."""
    tables = random_tables(config)
    if config.ids_distribution in ("uniform", "gaussian") or not config.fixed_num_lookups:
        return [_mean_uniform_ids(table.size, table.num_lookups, config.fixed_num_lookups) for table in tables]
    draws = IdDraws(config, tables, seed=0)
    return [1.0 if table.num_lookups == 1 else draws.mean_distinct(f) for f, table in enumerate(tables)]


def _mean_uniform_ids(size: int, num_lookups: int, is_fixed: bool) -> float:
    """For equally likely ids; a random number of draws counts with its mean."""
    if num_lookups == 1:
        return 1.0
    most = min(num_lookups, size)
    draws = num_lookups if is_fixed else (most + 1) / 2 + (1 - most) / (2 * most)
    return size * (1 - (1 - 1 / size) ** draws)
