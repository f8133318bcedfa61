"""A ranker as every job sees it: one collection of embedding tables, and an arch that turns what they give into logits.

B: batch rows.
"""

from collections.abc import Sequence

from torch import Tensor, fx, nn
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from data.schema import SparseFeature
from models.slices import InSlices
from models.table_layout import FeatureVector, TableGroup
from models.tables import frozen_tables, pooled_keys, pretrained_tables

fx.wrap("side_by_side")  # train pipelines trace the ranker, and take it as one step


class Ranker(nn.Module):
    """Logits, float32 [B] ([B, T] for several targets), from dense features, float32 [B, num_dense], and a KJT of all features.

    `ebc` may lie on the meta device: the ranker is then a plan's subject and is materialised by sharding it. Before the lookup
    stands `split_ids` (None: ids are looked up as they are), behind it `compose`; `looked_up` are the features as the tables
    see them. `arch` gets the dense features, standardised if asked for, and one tensor per table group; it computes
    `num_slices` slices of the batch one after the other. In training, embeddings (not first-order terms) pass through dropout
    first.
    """

    def __init__(
        self,
        ebc: EmbeddingBagCollection,
        groups: Sequence[TableGroup],
        layout: Sequence[Sequence[FeatureVector]],
        arch: nn.Module,
        *,
        split_ids: nn.Module | None,
        compose: nn.Module,
        looked_up: tuple[SparseFeature, ...],
        standardise: nn.Module | None = None,
        embedding_dropout: float = 0.0,
        num_slices: int = 1,
    ) -> None:
        super().__init__()
        self.ebc = ebc
        self.keys = pooled_keys(layout)
        self.looked_up = looked_up
        self.frozen_tables, self.pretrained_tables = frozen_tables(layout), pretrained_tables(layout)
        self.split_ids, self.compose = split_ids, compose
        self.standardise = nn.Identity() if standardise is None else standardise
        dropped = [nn.Identity() if group.is_first_order else nn.Dropout(embedding_dropout) for group in groups]
        self.embedding_dropout = nn.ModuleList(dropped) if embedding_dropout else None
        self.arch = arch
        self.in_slices = InSlices(arch, num_slices)

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        # Nothing at all stands before the lookup where no ids are split: train pipelines fetch a batch's own ids ahead.
        ids = sparse if self.split_ids is None else self.split_ids(sparse)
        # Side by side in the order of the keys, whatever order the plan leaves them in.
        pooled = side_by_side(self.ebc(ids), self.keys)
        vectors = self.compose(pooled, sparse)
        if self.embedding_dropout is not None:
            vectors = [drop(vectors[i]) for i, drop in enumerate(self.embedding_dropout)]
        return self.in_slices(self.standardise(dense), vectors)


def side_by_side(embedded: KeyedTensor, keys: Sequence[Sequence[str]]) -> list[Tensor]:
    """The pooled embeddings of each group of keys, float32 [B, sum of their widths]; a view where they lie so already."""
    if len(keys) == 1 and embedded.keys() == keys[0]:
        return [embedded.values()]
    return KeyedTensor.regroup([embedded], keys)  # pyright: ignore[reportArgumentType]
