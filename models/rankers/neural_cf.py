"""Neural collaborative filtering, GMF and MLP fused (NeuMF; He et al., arXiv 1708.05031, eq. 12).

    logit = h . (p_user * q_item) + over_arch([p'_user, q'_item])

Both halves have embeddings of their own, as the paper wants: tables `user`, `item` and `user_mlp`, `item_mlp`. `model.user` and
`model.item` name the two features. All others, dense ones too, are not looked at and have no tables.
"""

import torch
from torch import Tensor

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import Arch, plus_first_order, with_first_order
from models.rankers.pair import check_pair_widths, user_and_item
from models.rankers.parts import output_weight, over_arch
from models.tables import TableGroup, embeddings


class NeuralCF(Arch):
    """Logits, float32 [B], from two pairs of embeddings of user and item, [B, 2 D] each."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        check_pair_widths(config, schema)
        self.product_output = output_weight(config.embedding_dim, generator)
        self.over_arch = over_arch(config, 2 * config.embedding_dim, generator)

    @property
    def interactions(self) -> str:
        return "one weighted dot product, of user and item; more in the over arch"

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        pair = user_and_item(config, schema)
        return with_first_order(config, [embeddings(pair), embeddings(pair, suffix="_mlp")])

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        user, item = pooled[0].chunk(2, dim=1)
        logits = self.product_output(user * item) + self.over_arch(pooled[1])
        return plus_first_order(logits.squeeze(1), pooled, num_groups=2)
