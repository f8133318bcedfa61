"""xDeepFM (Lian et al., arXiv 1803.05170): a linear part, the compressed interaction network (CIN) and an MLP.

logit = w_0 + sum_i w_i x_i + w . CIN(v_1 x_1 .. v_m x_m) + over_arch([dense, e_1 .. e_F])
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.interactions import CompressedInteraction
from models.rankers.arch import Arch, check_one_width, sparse_width
from models.rankers.parts import FieldVectors, LinearPart, output_weight, over_arch
from models.tables import TableGroup, embeddings, first_order_terms


class XDeepFM(Arch):
    """Logits, float32 [B], from dense features [B, N], embeddings [B, F D] of one width, and first-order terms."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        check_one_width(config, schema, "model.ranker=wide_and_deep")
        num_dense = len(schema.dense)
        self.linear = LinearPart(num_dense, generator)
        self.fields = FieldVectors(num_dense, config.embedding_dim, generator)
        self.cin = CompressedInteraction(num_dense + len(schema.sparse), config.cin.widths, generator)
        self.cin_output = output_weight(self.cin.out_features, generator)
        self.over_arch = over_arch(config, num_dense + sparse_width(config, schema), generator)

    @property
    def interactions(self) -> str:
        num_layers = len(self.cin.weight)
        return f"{self.cin.out_features} feature maps in {num_layers} layers: products of up to {num_layers + 1} fields"

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        return [embeddings(schema.sparse_names), first_order_terms(schema.sparse_names)]

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        embedded, terms = pooled
        explicit = self.cin_output(self.cin(self.fields(dense, embedded)))
        implicit = self.over_arch(torch.cat([dense, embedded], dim=1))
        return self.linear(dense, terms) + (explicit + implicit).squeeze(1)
