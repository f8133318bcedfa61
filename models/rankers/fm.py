"""Factorization machine (Rendle, ICDM 2010): a linear part and every pair of fields through dot products.

    logit = w_0 + sum_i w_i x_i + sum_{i<j} (v_i . v_j) x_i x_j

Ids have x = 1 and their embedding as v; a dense feature has its value as x and a learned v of its own.
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.interactions import PairwiseProducts
from models.rankers.arch import Arch, check_one_width
from models.rankers.parts import FieldVectors, LinearPart
from models.tables import TableGroup, embeddings, first_order_terms


class FM(Arch):
    """Logits, float32 [B], from dense features [B, N], embeddings [B, F D] of one width, and first-order terms."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        check_one_width(config, schema, "model.ranker=wide_and_deep")
        self.linear = LinearPart(len(schema.dense), generator)
        self.fields = FieldVectors(len(schema.dense), config.embedding_dim, generator)
        self.pairs = PairwiseProducts()
        self.num_fields = len(schema.dense) + len(schema.sparse)

    @property
    def interactions(self) -> str:
        return f"{self.num_fields * (self.num_fields - 1) // 2} dot products of {self.num_fields} fields, summed"

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        return [embeddings(schema.sparse_names), first_order_terms(schema.sparse_names)]

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        embedded, terms = pooled
        return self.linear(dense, terms) + self.pairs(self.fields(dense, embedded))
