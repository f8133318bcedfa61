"""The embedding tables of a ranker: groups of them, one table per sparse feature in each group, all in one collection.

All are pooled by SUM, since TorchRec 1.8.0 divides wrongly when MEAN tables meet row-wise ones in one collection.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from data.schema import Schema, SparseFeature
from models.config import ModelConfig

FIRST_ORDER_WIDTH = 4
"""Columns that hold a first-order term, as their sum: FBGEMM's kernels take widths in fours.

All start at 0 and stay equal, so this is a table of width 1 that learns at four times the learning rate: first-order terms want
a higher one than embeddings.
"""
_FIRST_ORDER = "_first_order"


@dataclass(frozen=True, kw_only=True)
class TableGroup:
    """Tables of one kind for some features: what a ranker's arch gets as one tensor, side by side in this order.

    A feature's table is named after it, with `suffix` behind.
    """

    features: tuple[str, ...]
    suffix: str = ""
    is_first_order: bool = False

    def table_of(self, feature: str) -> str:
        """The name of a feature's table."""
        return feature + self.suffix


def embeddings(features: Sequence[str], suffix: str = "") -> TableGroup:
    """Embeddings of the features: the arch gets float32 [B, sum of their widths]."""
    return TableGroup(features=tuple(features), suffix=suffix)


def first_order_terms(features: Sequence[str]) -> TableGroup:
    """One learned value per id of the features: the arch gets float32 [B, 4 * number of features], to be summed."""
    return TableGroup(features=tuple(features), suffix=_FIRST_ORDER, is_first_order=True)


def build_tables(
    config: ModelConfig, schema: Schema, groups: Sequence[TableGroup], device: torch.device | str = "meta"
) -> EmbeddingBagCollection:
    """The EmbeddingBagCollection of all groups, one after the other.

    Tables are made on the meta device by default: only their shards are ever allocated, by the rank that holds them.
    """
    of_name = {feature.name: feature for feature in schema.sparse}
    tables = [_table(config, of_name[name], group) for group in groups for name in group.features]
    return EmbeddingBagCollection(tables=tables, device=torch.device(device))


def pooled_keys(groups: Sequence[TableGroup]) -> list[list[str]]:
    """The keys of the collection's KeyedTensor, group by group.

    TorchRec writes `feature@table` where several tables look one feature up.
    """
    num_tables = Counter(name for group in groups for name in group.features)
    return [
        [f"{name}@{group.table_of(name)}" if num_tables[name] > 1 else name for name in group.features]
        for group in groups
    ]


def _table(config: ModelConfig, feature: SparseFeature, group: TableGroup) -> EmbeddingBagConfig:
    scale = 0.0 if group.is_first_order else config.embedding_init_scale
    return EmbeddingBagConfig(
        name=group.table_of(feature.name),
        feature_names=[feature.name],
        num_embeddings=feature.num_embeddings,
        embedding_dim=FIRST_ORDER_WIDTH if group.is_first_order else config.dim_of(feature.name),
        pooling=PoolingType.SUM,
        weight_init_min=None if scale is None else -scale,
        weight_init_max=scale,
    )
