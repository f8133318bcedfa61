"""DLRM (arXiv 1906.00091): dense arch and embeddings, an interaction, an over arch, one logit.

B: batch rows.
"""

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from data.schema import Schema
from models.config import ModelConfig
from models.interactions import DotInteraction, LowRankCrossInteraction
from models.mlp import MLP


class DLRM(nn.Module):
    """Logits, float32 [B], from dense features, float32 [B, num_dense], and a KJT with one key per table.

    `ebc` may lie on the meta device: the ranker is then a plan's subject and is materialised by sharding it.
    """

    def __init__(self, config: ModelConfig, schema: Schema, ebc: EmbeddingBagCollection, seed: int = 0) -> None:
        super().__init__()
        config.check_fits(schema)
        generator = torch.Generator().manual_seed(seed)
        self.feature_names = list(schema.sparse_names)
        self.ebc = ebc
        self.has_dense = bool(schema.dense)
        self.dense_arch = MLP(len(schema.dense), config.dense_arch, dropout=config.dropout, generator=generator)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.interaction = _interaction(config, schema, generator)
        self.over_arch = MLP(
            self.interaction.out_features, config.over_arch, dropout=config.dropout, is_output=True, generator=generator
        )

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        embedded = self.embedding_dropout(self._pooled(sparse))
        processed = self.dense_arch(dense) if self.has_dense else dense
        return self.over_arch(self.interaction(processed, embedded)).squeeze(1)

    def _pooled(self, sparse: KeyedJaggedTensor) -> Tensor:
        """Embeddings side by side in the schema's order, whatever order the plan leaves in the KeyedTensor."""
        return KeyedTensor.regroup([self.ebc(sparse)], [self.feature_names])[0]


def _interaction(
    config: ModelConfig, schema: Schema, generator: torch.Generator
) -> DotInteraction | LowRankCrossInteraction:
    dense_width = config.dense_arch[-1] if schema.dense else 0
    if config.interaction == "dot":
        return DotInteraction(dense_width, config.embedding_dim, len(schema.sparse))
    width = dense_width + sum(config.dim_of(name) for name in schema.sparse_names)
    return LowRankCrossInteraction(width, config.cross_layers, config.cross_rank, generator)
