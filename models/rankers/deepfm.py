"""DeepFM (Guo et al., arXiv 1703.04247): a factorization machine and an MLP on the same embeddings.

    logit = FM(dense, ids) + over_arch([dense, e_1 .. e_F])

The MLP reads a dense feature's value itself: its vector x_i v_i before a linear layer is x_i with another weight.
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import sparse_width
from models.rankers.fm import FM
from models.rankers.parts import over_arch


class DeepFM(FM):
    """Logits, float32 [B], from dense features [B, N], embeddings [B, F D] of one width, and first-order terms."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        self.over_arch = over_arch(config, len(schema.dense) + sparse_width(config, schema), generator)

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        deep = self.over_arch(torch.cat([dense, pooled[0]], dim=1)).squeeze(1)
        return super().forward(dense, pooled) + deep
