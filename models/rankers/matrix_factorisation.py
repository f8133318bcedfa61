"""Matrix factorisation with biases (Koren, Bell, Volinsky, IEEE Computer 2009, eq. 4), as a ranker of clicks.

    logit = mu + b_user + b_item + p_user . q_item

`model.user` and `model.item` name the two features. All others, dense ones too, are not looked at and have no tables.
"""

import torch
from torch import Tensor, nn

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import Arch
from models.rankers.pair import check_pair_widths, user_and_item
from models.tables import TableGroup, embeddings, first_order_terms


class MatrixFactorisation(Arch):
    """Logits, float32 [B], from the embeddings of user and item, [B, 2 D], and their biases as first-order terms."""

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(config, schema, generator)
        check_pair_widths(config, schema)
        self.mean = nn.Parameter(torch.zeros(()))

    @property
    def interactions(self) -> str:
        return "one dot product, of user and item"

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        pair = user_and_item(config, schema)
        return [embeddings(pair), first_order_terms(pair)]

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        embedded, biases = pooled
        user, item = embedded.chunk(2, dim=1)
        return self.mean + biases.sum(dim=1) + (user * item).sum(dim=1)
