"""What a ranker looks like, as settings. No torch here: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass, field
from typing import Literal

from data.errors import ConfigError
from data.schema import Schema


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A DLRM: dense arch and embeddings, one interaction, over arch. Widths as in arXiv 1906.00091 and MLPerf's DLRM-DCNv2."""

    interaction: Literal["dot", "low_rank_cross"] = "dot"
    """How dense and embedded features meet: `dot` (DLRM, all pairs) or `low_rank_cross` (DCNv2, as MLPerf uses it)."""
    embedding_dim: int = 16
    """Width of every embedding table, unless `embedding_dims` names another for a table."""
    embedding_dims: dict[str, int] = field(default_factory=dict)
    """Width per table, by name; `dot` needs all widths equal, `low_rank_cross` takes any."""
    dense_arch: tuple[int, ...] = (64, 16)
    """Layer widths of the dense arch, input left out; with `dot` the last one equals `embedding_dim`."""
    over_arch: tuple[int, ...] = (128, 64, 1)
    """Layer widths of the over arch, input left out; the last one is 1, the logit."""
    cross_layers: int = 3
    """Number of cross layers (`low_rank_cross` only)."""
    cross_rank: int = 64
    """Rank of each cross layer's weight, V U (`low_rank_cross` only)."""
    first_order: bool = False
    """Add one learned value per id to the logit, beside the interaction: the linear part of a factorization machine."""
    standardise_dense: bool = False
    """Bring dense features to mean 0 and deviation 1 of the train split, inside the model (prepared data only)."""
    dropout: float = 0.0
    """Share of the hidden units of dense arch and over arch that is dropped in training, from 0 to below 1."""
    embedding_dropout: float = 0.0
    """Share of the pooled embedding values that is dropped in training, from 0 to below 1."""
    embedding_init_scale: float | None = None
    """Embeddings start uniform in [-scale, scale]; by default sqrt(1 / rows) of each table, as in the DLRM reference."""

    def __post_init__(self) -> None:
        _check_widths("model.dense_arch", self.dense_arch)
        _check_widths("model.over_arch", self.over_arch)
        _check_positive("model.embedding_dim", self.embedding_dim)
        for name, dim in self.embedding_dims.items():
            _check_positive(f"model.embedding_dims.{name}", dim)
        _check_positive("model.cross_layers", self.cross_layers)
        _check_positive("model.cross_rank", self.cross_rank)
        _check_share("model.dropout", self.dropout)
        _check_share("model.embedding_dropout", self.embedding_dropout)
        if self.over_arch[-1] != 1:
            raise ConfigError(
                f"model.over_arch ends in {self.over_arch[-1]}, but the over arch gives one logit: end it in 1, "
                f"for example {[*self.over_arch, 1]}."
            )

    def dim_of(self, table: str) -> int:
        """The embedding width of one table."""
        return self.embedding_dims.get(table, self.embedding_dim)

    def check_fits(self, schema: Schema) -> None:
        """Raise ConfigError where a width fits neither the data nor another width, with both numbers and the key to change."""
        unknown = sorted(set(self.embedding_dims) - set(schema.sparse_names))
        if unknown:
            raise ConfigError(
                f"model.embedding_dims names {', '.join(unknown)}, which the data do not have; "
                f"the tables are {', '.join(schema.sparse_names)}."
            )
        if self.interaction == "dot":
            self._check_dot_widths(schema)

    def _check_dot_widths(self, schema: Schema) -> None:
        if schema.dense and self.dense_arch[-1] != self.embedding_dim:
            raise ConfigError(
                f"model.dense_arch ends in {self.dense_arch[-1]} but model.embedding_dim is {self.embedding_dim}: the dot "
                "interaction needs vectors of one width. Change one of the two, or set model.interaction=low_rank_cross."
            )
        for name in schema.sparse_names:
            if self.dim_of(name) != self.embedding_dim:
                raise ConfigError(
                    f"model.embedding_dims.{name} is {self.dim_of(name)} but model.embedding_dim is {self.embedding_dim}: the "
                    "dot interaction needs vectors of one width. Remove the entry, or set model.interaction=low_rank_cross."
                )


def _check_widths(key: str, widths: tuple[int, ...]) -> None:
    if not widths or min(widths) < 1:
        raise ConfigError(f"{key} is {list(widths)}; it needs at least one layer, each at least 1 wide.")


def _check_positive(key: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{key} is {value}; it must be at least 1.")


def _check_share(key: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"{key} is {value}; it is a share, from 0 to below 1.")
