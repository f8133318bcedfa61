"""DLRM (arXiv 1906.00091): dense arch and embeddings, an interaction, an over arch, one logit.

B: batch rows.
"""

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from data.schema import Schema
from models.config import ModelConfig
from models.dense_scaling import DenseScale, Standardise
from models.interactions import DotInteraction, LowRankCrossInteraction
from models.mlp import MLP
from models.tables import pooled_keys


class DLRM(nn.Module):
    """Logits, float32 [B], from dense features, float32 [B, num_dense], and a KJT with one key per sparse feature.

    `ebc` may lie on the meta device: the ranker is then a plan's subject and is materialised by sharding it.
    """

    def __init__(
        self,
        config: ModelConfig,
        schema: Schema,
        ebc: EmbeddingBagCollection,
        *,
        dense_scale: DenseScale | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.ebc = ebc
        self.keys = pooled_keys(config, schema)
        self.has_first_order = config.first_order
        self.dense_arch = _dense_arch(config, schema, dense_scale, generator)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.interaction = _interaction(config, schema, generator)
        self.over_arch = MLP(
            self.interaction.out_features, config.over_arch, dropout=config.dropout, is_output=True, generator=generator
        )

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        pooled = self._pooled(sparse)
        met = self.interaction(self.dense_arch(dense), self.embedding_dropout(pooled[0]))
        logits = self.over_arch(met).squeeze(1)
        if self.has_first_order:
            logits = logits + pooled[1].sum(dim=1)
        return logits

    def _pooled(self, sparse: KeyedJaggedTensor) -> list[Tensor]:
        """Embeddings (and first-order terms) side by side in the schema's order, whatever order the plan leaves them in."""
        return KeyedTensor.regroup([self.ebc(sparse)], self.keys)


def _dense_arch(config: ModelConfig, schema: Schema, scale: DenseScale | None, generator: torch.Generator) -> nn.Module:
    if not schema.dense:
        return nn.Identity()
    arch = MLP(len(schema.dense), config.dense_arch, dropout=config.dropout, generator=generator)
    return arch if scale is None else nn.Sequential(Standardise(scale), arch)


def _interaction(
    config: ModelConfig, schema: Schema, generator: torch.Generator
) -> DotInteraction | LowRankCrossInteraction:
    dense_width = config.dense_arch[-1] if schema.dense else 0
    if config.interaction == "dot":
        return DotInteraction(dense_width, config.embedding_dim, len(schema.sparse))
    width = dense_width + sum(config.dim_of(name) for name in schema.sparse_names)
    return LowRankCrossInteraction(width, config.cross_layers, config.cross_rank, generator)
