"""What TorchRec asks of the data of a cached table: distinct rows of a step, and how many of them a cache misses."""

from torchrec.distributed.types import CacheParams, CacheStatistics

from sharding_plans.tables.access import access_of
from sharding_plans.tables.table_specs import TableSpec

_SIZES = 50


class AccessStatistics(CacheStatistics):
    """Statistics of a table from the shares of its most frequent rows, for a cache that holds these."""

    def __init__(self, table: TableSpec, global_batch_size: int) -> None:
        # A cache goes by frequency, wherever the rows lie in the table.
        self._access = access_of(table.num_embeddings, table.top_shares, True)
        self._ids = global_batch_size * sum(table.pooling_factors)
        self._rows = table.num_embeddings

    @property
    def expected_lookups(self) -> float:
        """Distinct rows that a step looks up."""
        return self._access.distinct(self._ids)

    def expected_miss_rate(self, clf: float) -> float:
        """The share of these that is not among the most frequent rows, of which a share `clf` of the table is cached."""
        return self._access.distinct(self._ids, clf * self._rows) / max(self.expected_lookups, 1e-9)

    @property
    def cacheability(self) -> float:
        """The mean miss rate over all sizes of the cache: 0 for a table that a small cache serves, toward 1 for an even one."""
        return sum(self.expected_miss_rate(size / _SIZES) for size in range(1, _SIZES + 1)) / _SIZES


def cache_params(table: TableSpec, load_factor: float | None, global_batch_size: int | None) -> CacheParams | None:
    """A table's cache: its size where one was asked for, its statistics where the data are known; None without either."""
    knows_data = bool(table.top_shares) and global_batch_size is not None
    if load_factor is None and not knows_data:
        return None
    stats = AccessStatistics(table, global_batch_size) if knows_data and global_batch_size else None
    return CacheParams(load_factor=load_factor, stats=stats)
