"""The embedding tables of a ranker: per sparse feature one table named after it, and one of first-order terms if asked for.

All are pooled by SUM, since TorchRec 1.8.0 divides wrongly when MEAN tables meet row-wise ones in one collection.
"""

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


def build_tables(config: ModelConfig, schema: Schema, device: torch.device | str = "meta") -> EmbeddingBagCollection:
    """The EmbeddingBagCollection of all features, in the schema's order, first-order tables behind the others.

    Tables are made on the meta device by default: only their shards are ever allocated, by the rank that holds them.
    """
    tables = [_embedding_table(config, feature) for feature in schema.sparse]
    if config.first_order:
        tables += [_first_order_table(feature) for feature in schema.sparse]
    return EmbeddingBagCollection(tables=tables, device=torch.device(device))


def pooled_keys(config: ModelConfig, schema: Schema) -> list[list[str]]:
    """The keys of the collection's KeyedTensor: first all embeddings, then (if asked for) all first-order terms.

    TorchRec writes `feature@table` where several tables look one feature up.
    """
    names = list(schema.sparse_names)
    if not config.first_order:
        return [names]
    return [[f"{name}@{name}" for name in names], [f"{name}@{name}{_FIRST_ORDER}" for name in names]]


def _embedding_table(config: ModelConfig, feature: SparseFeature) -> EmbeddingBagConfig:
    scale = config.embedding_init_scale
    return EmbeddingBagConfig(
        name=feature.name,
        feature_names=[feature.name],
        num_embeddings=feature.num_embeddings,
        embedding_dim=config.dim_of(feature.name),
        pooling=PoolingType.SUM,
        weight_init_min=None if scale is None else -scale,
        weight_init_max=scale,
    )


def _first_order_table(feature: SparseFeature) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(
        name=feature.name + _FIRST_ORDER,
        feature_names=[feature.name],
        num_embeddings=feature.num_embeddings,
        embedding_dim=FIRST_ORDER_WIDTH,
        pooling=PoolingType.SUM,
        weight_init_min=0.0,
        weight_init_max=0.0,
    )
