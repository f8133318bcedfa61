"""Wide & Deep (Cheng et al., arXiv 1606.07792): a linear model and an MLP, trained together.

    logit = w_0 + sum_i w_i x_i + over_arch([dense, e_1 .. e_F])

The paper's hand-picked cross products of the wide part are features of the data: prepare them as ids of their own.
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import Arch, sparse_width
from models.rankers.parts import LinearPart, over_arch
from models.tables import TableGroup, embeddings, first_order_terms


class WideAndDeep(Arch):
    """Logits, float32 [B], from dense features [B, N], embeddings [B, sum of D] of any widths, and first-order terms."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        self.wide = LinearPart(len(schema.dense), generator)
        self.over_arch = over_arch(config, len(schema.dense) + sparse_width(config, schema), generator)

    @property
    def interactions(self) -> str:
        return "none but in the over arch"

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        return [embeddings(schema.sparse_names), first_order_terms(schema.sparse_names)]

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        embedded, terms = pooled
        deep = self.over_arch(torch.cat([dense, embedded], dim=1)).squeeze(1)
        return self.wide(dense, terms) + deep
