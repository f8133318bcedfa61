"""What a ranker looks like, as settings. No torch here: the command line reads this before anything heavy is imported."""

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from data.errors import ConfigError
from data.schema import Schema
from models.registry import check_known, check_read
from models.table_config import TablesConfig


@dataclass(frozen=True, kw_only=True)
class CrossConfig:
    """The cross network of `dcn` and `dcnv2`."""

    num_layers: int = 3
    """Number of cross layers."""
    rank: int = 64
    """Rank of each layer's weight V U (`dcnv2` only; a layer of `dcn` has one vector)."""

    def __post_init__(self) -> None:
        _check_positive("model.cross.num_layers", self.num_layers)
        _check_positive("model.cross.rank", self.rank)


@dataclass(frozen=True, kw_only=True)
class CinConfig:
    """The compressed interaction network of `xdeepfm`."""

    widths: tuple[int, ...] = (32, 32)
    """Number of feature maps of each layer."""

    def __post_init__(self) -> None:
        _check_widths("model.cin.widths", self.widths)


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """The projections of `dlrm` with `interaction: projection`."""

    num_vectors: int = 8
    """Vectors that each of the two projections gives; their dot products number num_vectors squared."""
    hidden: tuple[int, ...] = ()
    """Widths of hidden layers of the projections; none: linear ones."""

    def __post_init__(self) -> None:
        _check_positive("model.projection.num_vectors", self.num_vectors)
        if self.hidden:
            _check_widths("model.projection.hidden", self.hidden)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A ranker: which one, and its widths. A setting that the chosen ranker does not read is an error unless left as it is."""

    ranker: str = "dlrm"
    """dlrm, dcn, dcnv2, wide_and_deep, deepfm, xdeepfm, fm, matrix_factorisation, neural_cf, mlp, logistic_regression; or
    module:Class for one of your own (docs/your_own_model.md). docs/models.md says how they compare."""
    interaction: Literal["dot", "cat", "projection"] = "dot"
    """`dlrm`: how dense and embedded features meet: `dot` (all pairs), `cat` (side by side), `projection` (mixtures)."""
    self_interaction: bool = False
    """`dlrm` with `dot`: also the dot product of each vector with itself."""
    embedding_dim: int = 16
    """Width of every embedding table, unless `embedding_dims` names another for a table."""
    embedding_dims: dict[str, int] = field(default_factory=dict)
    """Width per table, by name; rankers that multiply vectors need all widths equal (dlrm with `cat`, dcn, dcnv2,
    wide_and_deep and mlp take any)."""
    dense_arch: tuple[int, ...] = (64, 16)
    """`dlrm`, `dcnv2`: layer widths of the dense arch, input left out; for dot products the last one equals `embedding_dim`."""
    over_arch: tuple[int, ...] = (128, 64, 1)
    """Layer widths of the MLP that ends in the logit (the deep part of the rankers that have one), input left out."""
    cross: CrossConfig = field(default_factory=CrossConfig)
    """`dcn`, `dcnv2`: the cross network."""
    cin: CinConfig = field(default_factory=CinConfig)
    """`xdeepfm`: the compressed interaction network."""
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    """`dlrm` with `projection`: the projections."""
    user: str = ""
    """`matrix_factorisation`, `neural_cf`: the feature that is the user; empty: the first one."""
    item: str = ""
    """`matrix_factorisation`, `neural_cf`: the feature that is the item; empty: the second one."""
    first_order: bool = False
    """`dlrm`, `dcn`, `dcnv2`, `mlp`, `neural_cf`: add one learned value per id to the logit (the others have that anyway)."""
    standardise_dense: bool = False
    """Bring dense features to mean 0 and deviation 1 of the train split, inside the model (prepared data only)."""
    dropout: float = 0.0
    """Share of the hidden units of dense arch and over arch that is dropped in training, from 0 to below 1."""
    embedding_dropout: float = 0.0
    """Share of the pooled embedding values that is dropped in training, from 0 to below 1."""
    embedding_init_scale: float | None = None
    """Embeddings start uniform in [-scale, scale]; by default sqrt(1 / rows) of each table, as in the DLRM reference."""
    tables: TablesConfig = field(default_factory=TablesConfig)
    """The embedding tables: made smaller, pooled, stored and started."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of a ranker of your own, by name."""

    def __post_init__(self) -> None:
        check_known(self.ranker)
        _check_widths("model.dense_arch", self.dense_arch)
        _check_widths("model.over_arch", self.over_arch)
        _check_positive("model.embedding_dim", self.embedding_dim)
        for name, dim in self.embedding_dims.items():
            _check_positive(f"model.embedding_dims.{name}", dim)
        _check_share("model.dropout", self.dropout)
        _check_share("model.embedding_dropout", self.embedding_dropout)
        if self.over_arch[-1] != 1:
            raise ConfigError(
                f"model.over_arch ends in {self.over_arch[-1]}, but the over arch gives one logit: end it in 1, "
                f"for example {[*self.over_arch, 1]}."
            )
        self._check_settings_are_read()

    def _check_settings_are_read(self) -> None:
        """ConfigError where a setting was changed that the ranker, or its interaction, does not read."""
        changed = _changed_settings(self)
        for name, value in changed.items():
            check_read(self.ranker, name, value)
        if self.interaction != "projection":
            _check_unchanged(changed, "projection", f"model.interaction is {self.interaction}; set it to projection")
        if self.interaction != "dot":
            _check_unchanged(changed, "self_interaction", f"model.interaction is {self.interaction}; set it to dot")

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


def _check_widths(key: str, widths: tuple[int, ...]) -> None:
    if not widths or min(widths) < 1:
        raise ConfigError(f"{key} is {list(widths)}; it needs at least one layer, each at least 1 wide.")


def _check_positive(key: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{key} is {value}; it must be at least 1.")


def _check_share(key: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"{key} is {value}; it is a share, from 0 to below 1.")


def _changed_settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of the settings that are not at their default."""
    changed: dict[str, Any] = {}
    for each in fields(config):
        value, name = getattr(config, each.name), f"{prefix}{each.name}"
        if is_dataclass(value):
            changed |= _changed_settings(value, f"{name}.")
            continue
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if value != default:
            changed[name] = value
    return changed


def _check_unchanged(changed: dict[str, Any], setting: str, why: str) -> None:
    for name, value in changed.items():
        if name.split(".")[0] == setting:
            raise ConfigError(f"model.{name} is {value}, but {why}, or remove model.{name}.")
