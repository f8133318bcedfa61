"""A plain MLP over dense features and embeddings: what the interactions of the other rankers must beat.

logit = over_arch([dense, e_1 .. e_F])
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import Arch, plus_first_order, sparse_width
from models.rankers.parts import over_arch


class MLPRanker(Arch):
    """Logits, float32 [B], from dense features [B, N] and embeddings [B, sum of D] of any widths."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        self.over_arch = over_arch(config, len(schema.dense) + sparse_width(config, schema), generator)

    @property
    def interactions(self) -> str:
        return "none but in the over arch"

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        return plus_first_order(self.over_arch(torch.cat([dense, pooled[0]], dim=1)).squeeze(1), pooled)
