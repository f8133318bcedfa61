"""How far the rows of one prepared split have moved from those of another, feature by feature.

The population stability index of a feature compares the shares a and b of its buckets: sum of (b - a) * ln(b / a). Half a row
is added to each bucket, so that an empty one does not make it infinite. Two samples of the same rows' source have about
(buckets - 1) * (1 / rows of A + 1 / rows of B) by chance. (Siddiqi, Credit Risk Scorecards, 2006.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.check_config import DriftConfig
from data.errors import DataError
from data.reading.split_columns import SplitColumns
from data.reading.stored_split import LABEL
from data.schema import SparseFeature

_TAIL_BUCKETS = 10
# Ids that A met fewer times share a bucket with those that only B has: which of the rare ids A happens to hold is chance.
_FEWEST_ROWS = 5
OTHERS = "rare, missing or new"


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """One feature in both sets. Rates are of rows, or of ids where the feature is a list; None is not known.

    `unmapped`: looks up row 0 (missing, rare, unknown); `new_rate`: ids of B, mapped there, that A has no row for. `shares` are
    those of the `buckets`, float64.
    """

    name: str
    kind: Literal["dense", "sparse"]
    psi: float
    psi_by_chance: float
    buckets: tuple[str, ...]
    shares_a: np.ndarray
    shares_b: np.ndarray
    missing_a: float | None = None
    missing_b: float | None = None
    mean_a: float | None = None
    mean_b: float | None = None
    unmapped_a: float | None = None
    unmapped_b: float | None = None
    new_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """All features of both sets, furthest moved first, and what could not be compared, with the reason."""

    name_a: str
    name_b: str
    num_rows_a: int
    num_rows_b: int
    label_rate_a: float
    label_rate_b: float
    features: tuple[FeatureDrift, ...]
    left_out: dict[str, str]

    @property
    def label_z(self) -> float:
        """Difference of the label rates in standard errors, were both sets of one rate."""
        total = self.num_rows_a + self.num_rows_b
        pooled = (self.label_rate_a * self.num_rows_a + self.label_rate_b * self.num_rows_b) / total
        error = (pooled * (1 - pooled) * (1 / self.num_rows_a + 1 / self.num_rows_b)) ** 0.5
        return (self.label_rate_b - self.label_rate_a) / error if error else 0.0


def measure_drift(config: DriftConfig) -> Drift:
    """The drift between the two sets of the settings. DataError where one cannot be read, or they share no feature."""
    a = SplitColumns(config.a, config.split_a, config.day_a, config.max_rows)
    b = SplitColumns(config.b, config.split_b, config.day_b, config.max_rows)
    missing = _missing_rates(a, config.split_a), _missing_rates(b, config.split_b)
    left_out = _left_out(a, b)
    features = [_dense(a, b, name, config, missing) for name in a.manifest.schema.dense if name not in left_out]
    for feature in a.manifest.schema.sparse:
        if feature.name not in left_out:
            features.append(_sparse(a, b, feature, config, missing))
    if not features:
        raise DataError(f"{a.name} and {b.name} share no feature that can be compared: {left_out}.")
    label_rates = [float(pc.mean(each.column(LABEL)).as_py()) for each in (a, b)]  # pyright: ignore[reportAttributeAccessIssue]
    return Drift(
        name_a=a.name,
        name_b=b.name,
        num_rows_a=a.num_rows,
        num_rows_b=b.num_rows,
        label_rate_a=label_rates[0],
        label_rate_b=label_rates[1],
        features=tuple(sorted(features, key=lambda each: -each.psi)),
        left_out=left_out,
    )


def stability_index(counts_a: np.ndarray, counts_b: np.ndarray) -> tuple[float, float]:
    """The population stability index of counts by bucket, and how large it is by chance."""
    a, b = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (counts_a, counts_b))
    chance = (len(a) - 1) * (1 / max(1, counts_a.sum()) + 1 / max(1, counts_b.sum()))
    return float(((b - a) * np.log(b / a)).sum()), float(chance)


def _left_out(a: SplitColumns, b: SplitColumns) -> dict[str, str]:
    """Features that one set lacks, or whose table rows mean different ids in each."""
    tables = [{each.name: each for each in columns.manifest.schema.sparse} for columns in (a, b)]
    names = [{*columns.manifest.schema.dense, *found} for columns, found in zip((a, b), tables, strict=True)]
    reasons = dict.fromkeys(sorted(names[0] - names[1]), "not in B") | dict.fromkeys(
        sorted(names[1] - names[0]), "not in A"
    )
    for name in tables[0].keys() & tables[1].keys():
        sizes = [found[name].num_embeddings for found in tables]
        has_map = [_map_path(columns, found[name]).exists() for columns, found in zip((a, b), tables, strict=True)]
        if has_map[0] != has_map[1] or (not has_map[0] and sizes[0] != sizes[1]):
            reasons[name] = "ids are mapped otherwise"
    return reasons


def _missing_rates(columns: SplitColumns, split: str) -> dict[str, float]:
    """From the manifest, which tells them of the train split alone."""
    statistics = {**columns.manifest.sparse_statistics, **columns.manifest.dense_statistics}
    return {name: each.missing_rate for name, each in statistics.items()} if split == "train" else {}


def _dense(
    a: SplitColumns, b: SplitColumns, name: str, config: DriftConfig, missing: Sequence[dict[str, float]]
) -> FeatureDrift:
    values = [columns.column(name).to_numpy().astype(np.float64) for columns in (a, b)]
    edges = np.unique(np.quantile(values[0], np.arange(1, config.num_buckets) / config.num_buckets))
    counts = [np.bincount(np.searchsorted(edges, each, side="left"), minlength=len(edges) + 1) for each in values]
    psi, chance = stability_index(*counts)
    return FeatureDrift(
        name=name,
        kind="dense",
        psi=psi,
        psi_by_chance=chance,
        buckets=(*(f"to {edge:.3g}" for edge in edges), f"above {edges[-1]:.3g}"),
        shares_a=counts[0] / counts[0].sum(),
        shares_b=counts[1] / counts[1].sum(),
        missing_a=missing[0].get(name),
        missing_b=missing[1].get(name),
        mean_a=float(values[0].mean()),
        mean_b=float(values[1].mean()),
    )


def _sparse(
    a: SplitColumns, b: SplitColumns, feature: SparseFeature, config: DriftConfig, missing: Sequence[dict[str, float]]
) -> FeatureDrift:
    rows_a, rows_b = (_values(columns.column(feature.name)) for columns in (a, b))
    in_a = _rows_in_a(a, b, feature)
    mapped = rows_b if in_a is None else in_a[rows_b]
    bucket_of, names = _buckets(np.bincount(rows_a, minlength=feature.num_embeddings), config.top_ids)
    counts_a = np.bincount(bucket_of[rows_a], minlength=len(names))
    counts_b = np.bincount(bucket_of[np.maximum(mapped, 0)], minlength=len(names))
    psi, chance = stability_index(counts_a, counts_b)
    return FeatureDrift(
        name=feature.name,
        kind="sparse",
        psi=psi,
        psi_by_chance=chance,
        buckets=names,
        shares_a=counts_a / max(1, counts_a.sum()),
        shares_b=counts_b / max(1, counts_b.sum()),
        missing_a=missing[0].get(feature.name),
        missing_b=missing[1].get(feature.name),
        unmapped_a=float((rows_a == 0).mean()) if len(rows_a) else None,
        unmapped_b=float((rows_b == 0).mean()) if len(rows_b) else None,
        new_rate=None if in_a is None or not len(mapped) else float((mapped < 0).mean()),
    )


def _values(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_list(column.type):
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks])
    return column.to_numpy()


def _buckets(counts: np.ndarray, top_ids: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bucket of each table row of A, from how often each occurs there, and the names: others, the top ids, ranges by rank."""
    frequent = np.argsort(-counts[1:], kind="stable") + 1
    frequent = frequent[counts[frequent] >= _FEWEST_ROWS]
    num_top, ranks = min(top_ids, len(frequent)), np.arange(1, len(frequent) + 1)
    edges = np.unique(np.geomspace(num_top + 1, max(len(frequent), num_top) + 1, _TAIL_BUCKETS + 1).round().astype(int))
    in_tail = np.searchsorted(edges, ranks, side="right")
    bucket_of = np.zeros(len(counts), np.int64)
    bucket_of[frequent] = np.where(ranks <= num_top, ranks, num_top + in_tail)
    tails = tuple(f"rank {edge:,} on" for edge in edges[:-1])
    return bucket_of, (OTHERS, *(f"top {rank}" for rank in range(1, num_top + 1)), *tails)


def _rows_in_a(a: SplitColumns, b: SplitColumns, feature: SparseFeature) -> np.ndarray | None:
    """A's table row of the id behind each table row of B, int64, -1 where A has none; none where both number alike."""
    path_a, path_b = _map_path(a, feature), _map_path(b, feature)
    if not path_a.exists() or path_a == path_b:
        return None
    map_a, map_b = pq.read_table(path_a), pq.read_table(path_b)
    place = pc.index_in(map_b["id"].combine_chunks(), value_set=map_a["id"].combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
    found = place.fill_null(-1).to_numpy(zero_copy_only=False)
    rows_of_a = np.append(map_a["row"].to_numpy(), -1)
    result = np.zeros(int(map_b.num_rows) + 1, np.int64)
    result[map_b["row"].to_numpy()] = rows_of_a[found]
    return result


def _map_path(columns: SplitColumns, feature: SparseFeature) -> Path:
    return columns.directory / "id_maps" / f"{feature.table_name}.parquet"
