"""What a batch consists of: the names of the dense features and the tables behind the sparse ones."""

from dataclasses import asdict, dataclass
from typing import Any

from data.errors import DataError


@dataclass(frozen=True, kw_only=True)
class SparseFeature:
    """One categorical feature and the embedding table it looks up.

    `num_embeddings` counts table rows, row 0 (missing, rare, unknown) included; ids lie in [0, num_embeddings).
    `pooling_factor` is the mean number of ids per bag (1.0 for one-hot data). `table` names the table that several features
    share; empty: a table of the feature's own, with its name. `is_list`: a bag holds any number of ids, none included, at most
    `max_length` of them (0: no limit); otherwise exactly one. `weighted`: every id has a weight, float32 (lists only).
    """

    name: str
    num_embeddings: int
    pooling_factor: float = 1.0
    table: str = ""
    weighted: bool = False
    is_list: bool = False
    max_length: int = 0

    @property
    def table_name(self) -> str:
        """The table that this feature looks up."""
        return self.table or self.name


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The shape of every batch: dense is float32 [B, len(dense)], the KJT has one key per sparse feature, in this order.

    Labels are float32 [B], or [B, len(targets)] where there are several targets. DataError where features that share a table
    disagree about its rows.
    """

    dense: tuple[str, ...]
    sparse: tuple[SparseFeature, ...]
    targets: tuple[str, ...] = ()
    """Names of the targets where there are several; the first one is in every row, others may be missing."""

    def __post_init__(self) -> None:
        rows: dict[str, SparseFeature] = {}
        for feature in self.sparse:
            first = rows.setdefault(feature.table_name, feature)
            if first.num_embeddings != feature.num_embeddings:
                raise DataError(
                    f"Features {first.name!r} and {feature.name!r} share table {feature.table_name!r}, but expect"
                    f" {first.num_embeddings} and {feature.num_embeddings} rows of it. Prepare the dataset again (force=true)."
                )

    @property
    def sparse_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.sparse)

    @property
    def is_one_hot(self) -> bool:
        """Whether every bag of every feature holds exactly one id, without a weight."""
        return not any(feature.is_list or feature.weighted for feature in self.sparse)

    @property
    def is_weighted(self) -> bool:
        """Whether any feature has weights. The KJT then has a weight for every id: 1.0 where a feature has none."""
        return any(feature.weighted for feature in self.sparse)

    @property
    def features_of_tables(self) -> dict[str, tuple[SparseFeature, ...]]:
        """Every table's features, tables in the order of their first feature."""
        tables: dict[str, list[SparseFeature]] = {}
        for feature in self.sparse:
            tables.setdefault(feature.table_name, []).append(feature)
        return {table: tuple(features) for table, features in tables.items()}


def plain_schema(schema: Schema) -> dict[str, Any]:
    """The schema in plain values, as it is kept in files; one target needs no names."""
    plain = asdict(schema)
    if not schema.targets:
        del plain["targets"]
    return plain


def target_column(name: str) -> str:
    """The stored column of a target behind the first, which is in `label`: int8, null where it is missing."""
    return f"label_{name}"


def weights_column(name: str) -> str:
    """The stored column with the weights of a list feature."""
    return f"{name}_weights"
