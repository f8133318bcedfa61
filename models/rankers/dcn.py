"""Deep & Cross Network (Wang et al., arXiv 1708.05123): a cross network and an MLP side by side on the same input.

    x_0 = [dense, e_1 .. e_F];  logit = w . cross(x_0) + over_arch(x_0)

The paper's last layer over both outputs is written as its two halves: `over_arch` ends in one of them.
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.interactions import CrossNetwork
from models.rankers.arch import Arch, plus_first_order, sparse_width
from models.rankers.parts import output_weight, over_arch


class DCN(Arch):
    """Logits, float32 [B], from dense features [B, N] and embeddings [B, sum of D] of any widths."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        width = len(schema.dense) + sparse_width(config, schema)
        self.cross = CrossNetwork(width, config.cross.num_layers, generator)
        self.cross_output = output_weight(width, generator)
        self.over_arch = over_arch(config, width, generator)

    @property
    def interactions(self) -> str:
        num_layers = len(self.cross.weight)
        return f"{num_layers} cross layers on {self.cross.out_features} columns: products of up to {num_layers + 1} of them"

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        x_0 = torch.cat([dense, pooled[0]], dim=1)
        logits = self.cross_output(self.cross(x_0)) + self.over_arch(x_0)
        return plus_first_order(logits.squeeze(1), pooled)
