"""What every ranker's arch has in common: which tables it wants, and how widths and seeds reach it.

B: batch rows, F: sparse features, D: embedding dimension.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.errors import ConfigError
from data.schema import Schema
from models.config import ModelConfig
from models.table_layout import TableGroup
from models.tables import embeddings, first_order_terms


class Arch(nn.Module):
    """The part of a ranker behind its tables: logits, float32 [B], from dense features and pooled embeddings.

    A ranker is a subclass with an `__init__` of these three arguments, which builds its layers from `generator` so that every
    rank starts alike; a `forward(dense, pooled)` with dense features, float32 [B, num_dense], and a list of one float32
    tensor per table group, in the groups' order; and, where it wants other tables than these, a `table_groups`.
    """

    def __init__(self, config: ModelConfig, schema: Schema, generator: torch.Generator) -> None:
        super().__init__()

    @property
    def interactions(self) -> str:
        """How features meet, in words with numbers, for the model card."""
        return ""

    @classmethod
    def table_groups(cls, config: ModelConfig, schema: Schema) -> list[TableGroup]:
        """Embeddings of all features in the schema's order; first-order terms behind them if `first_order` asks for them."""
        return with_first_order(config, [embeddings(schema.sparse_names)])

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        raise NotImplementedError


def with_first_order(config: ModelConfig, groups: list[TableGroup]) -> list[TableGroup]:
    """The groups, and first-order terms of the first one's features if `first_order` asks for them."""
    return [*groups, first_order_terms(groups[0].features)] if config.first_order else groups


def plus_first_order(logits: Tensor, groups: Sequence[Tensor], num_groups: int = 1) -> Tensor:
    """The logits, float32 [B], plus the first-order terms where they stand behind `num_groups` other groups."""
    return logits + groups[num_groups].sum(dim=1) if len(groups) > num_groups else logits


def sparse_width(config: ModelConfig, schema: Schema) -> int:
    """Columns of all embeddings side by side."""
    return sum(config.dim_of(name) for name in schema.sparse_names)


def check_one_width(config: ModelConfig, schema: Schema, remedy: str) -> None:
    """ConfigError where a table's width differs from `embedding_dim`, for interactions that need vectors of one width."""
    for name in schema.sparse_names:
        if config.dim_of(name) != config.embedding_dim:
            raise ConfigError(
                f"model.embedding_dims.{name} is {config.dim_of(name)} but model.embedding_dim is {config.embedding_dim}: "
                f"model.ranker={config.ranker} needs vectors of one width here. Remove the entry, or set {remedy}."
            )


def check_dense_arch_width(config: ModelConfig, schema: Schema, remedy: str) -> None:
    """ConfigError where the dense arch does not end in vectors as wide as the embeddings."""
    if schema.dense and config.dense_arch[-1] != config.embedding_dim:
        raise ConfigError(
            f"model.dense_arch ends in {config.dense_arch[-1]} but model.embedding_dim is {config.embedding_dim}: this "
            f"interaction needs vectors of one width. Change one of the two, or set {remedy}."
        )
