"""DLRM (Naumov et al., arXiv 1906.00091): dense arch and embeddings, an interaction, an over arch.

    z = dense_arch(dense);  logit = over_arch(interaction(z, e_1 .. e_F))

`model.interaction` chooses how they meet: dot products of all pairs, side by side, or dot products of projections.
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.interactions import CatInteraction, DotInteraction, ProjectionInteraction
from models.rankers.arch import Arch, check_dense_arch_width, check_one_width, plus_first_order, sparse_width
from models.rankers.parts import dense_arch, dense_width, over_arch


class DLRM(Arch):
    """Logits, float32 [B], from dense features [B, N] and embeddings [B, sum of D]; first-order terms are added if there."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        self.dense_arch = dense_arch(config, schema, generator)
        self.interaction = _interaction(config, schema, generator)
        self.over_arch = over_arch(config, self.interaction.out_features, generator)

    @property
    def interactions(self) -> str:
        return self.interaction.words

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        met = self.interaction(self.dense_arch(dense), pooled[0])
        return plus_first_order(self.over_arch(met).squeeze(1), pooled)


def _interaction(
    config: ModelConfig, schema: Schema, generator: torch.Generator
) -> DotInteraction | CatInteraction | ProjectionInteraction:
    width = dense_width(config, schema)
    if config.interaction == "cat":
        return CatInteraction(width + sparse_width(config, schema))
    remedy = "model.interaction=cat or model.ranker=dcnv2"
    check_dense_arch_width(config, schema, remedy)
    check_one_width(config, schema, remedy)
    if config.interaction == "dot":
        return DotInteraction(width, config.embedding_dim, len(schema.sparse), with_itself=config.self_interaction)
    projection = config.projection
    return ProjectionInteraction(
        width, config.embedding_dim, len(schema.sparse), projection.num_vectors, projection.hidden, generator
    )
