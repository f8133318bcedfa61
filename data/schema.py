"""What a batch consists of: the names of the dense features and the tables behind the sparse ones."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SparseFeature:
    """One categorical feature and the embedding table it looks up.

    `num_embeddings` counts table rows, row 0 (missing, rare, unknown) included; ids lie in [0, num_embeddings).
    `pooling_factor` is the mean number of ids per bag (1.0 for one-hot data).
    """

    name: str
    num_embeddings: int
    pooling_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The shape of every batch: dense is float32 [B, len(dense)], the KJT has one key per sparse feature, in this order."""

    dense: tuple[str, ...]
    sparse: tuple[SparseFeature, ...]

    @property
    def sparse_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.sparse)
