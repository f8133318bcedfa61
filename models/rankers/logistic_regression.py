"""Logistic regression over dense features and ids: what anything deeper must beat.

logit = w_0 + sum_i w_i x_i
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import Arch
from models.rankers.parts import LinearPart
from models.tables import TableGroup, first_order_terms


class LogisticRegression(Arch):
    """Logits, float32 [B], from dense features [B, N] and first-order terms; there are no other tables."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        self.linear = LinearPart(len(schema.dense), generator)

    @property
    def interactions(self) -> str:
        return "none"

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        return [first_order_terms(schema.sparse_names)]

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        return self.linear(dense, pooled[0])
