"""The embedding tables of a ranker: one table per sparse feature, named after it, pooled by sum."""

import torch
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from data.schema import Schema, SparseFeature
from models.config import ModelConfig


def build_tables(config: ModelConfig, schema: Schema, device: torch.device | str = "meta") -> EmbeddingBagCollection:
    """The EmbeddingBagCollection of all features, in the schema's order.

    Tables are made on the meta device by default: only their shards are ever allocated, by the rank that holds them.
    Pooling is SUM throughout, since TorchRec 1.8.0 divides wrongly when MEAN tables meet row-wise ones in one collection.
    """
    return EmbeddingBagCollection(tables=[_table(config, f) for f in schema.sparse], device=torch.device(device))


def _table(config: ModelConfig, feature: SparseFeature) -> EmbeddingBagConfig:
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
