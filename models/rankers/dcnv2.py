"""DCNv2 as MLPerf trains it: dense arch and embeddings, the low-rank cross network of arXiv 2008.13535, an over arch.

x_0 = [dense_arch(dense), e_1 .. e_F];  x_{l+1} = x_0 * (V_l U_l x_l + b_l) + x_l;  logit = over_arch(x_L)
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.interactions import LowRankCrossInteraction
from models.rankers.arch import Arch, plus_first_order, sparse_width
from models.rankers.parts import dense_arch, dense_width, over_arch


class DCNv2(Arch):
    """Logits, float32 [B], from dense features [B, N] and embeddings [B, sum of D] of any widths."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        self.dense_arch = dense_arch(config, schema, generator)
        width = dense_width(config, schema) + sparse_width(config, schema)
        self.cross = LowRankCrossInteraction(width, config.cross.num_layers, config.cross.rank, generator)
        self.over_arch = over_arch(config, width, generator)

    @property
    def interactions(self) -> str:
        num_layers = len(self.cross.down)
        return f"{num_layers} cross layers on {self.cross.out_features} columns: products of up to {num_layers + 1} of them"

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        crossed = self.cross(self.dense_arch(dense), pooled[0])
        return plus_first_order(self.over_arch(crossed).squeeze(1), pooled)
