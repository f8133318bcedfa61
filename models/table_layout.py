"""Which tables each feature's vector is made of: one, or two of quotients and remainders, perhaps narrower than the vector.

No torch here: a layout is names and numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.config import ModelConfig
from models.position_layout import check_positions, num_positions, position_key, shares_of_positions
from models.table_config import TableOverride

FIRST_ORDER_WIDTH = 4
"""Columns that hold a first-order term, as their sum: FBGEMM's kernels take widths in fours.

All start at 0 and stay equal, so this is a table of width 1 that learns at four times the learning rate: first-order terms want
a higher one than embeddings.
"""
_SMALLEST_WIDTH = 4
_QUOTIENT, _REMAINDER = "_q", "_r"


@dataclass(frozen=True, kw_only=True)
class TableGroup:
    """Tables of one kind for some features: what a ranker's arch gets as one tensor, side by side in this order.

    A feature's table is named after it (or after what it shares with others), with `suffix` behind.
    """

    features: tuple[str, ...]
    suffix: str = ""
    is_first_order: bool = False


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One table that a feature's vector is made of, and the key of the KeyedJaggedTensor that looks it up."""

    table: str
    key: str
    rows: int
    width: int
    low: float
    high: float
    dtype: str = "fp32"
    is_frozen: bool = False
    pretrained: str | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureVector:
    """One feature's vector, `dim` wide: what becomes of its pieces once they are pooled."""

    feature: str
    pieces: tuple[Piece, ...]
    operation: str
    """What makes one vector of several pieces: add, mult or concat; position: a sum with learned weights."""
    dim: int
    is_mean: bool = False

    @property
    def width(self) -> int:
        """Columns after the pieces have become one vector, before the projection to `dim`."""
        widths = [piece.width for piece in self.pieces]
        return sum(widths) if self.operation == "concat" else widths[0]

    @property
    def is_plain(self) -> bool:
        """Whether the pooled piece is the vector."""
        return len(self.pieces) == 1 and self.width == self.dim and not self.is_mean


def lay_out(config: ModelConfig, schema: Schema, groups: Sequence[TableGroup]) -> list[list[FeatureVector]]:
    """The vectors of each group. ConfigError where settings and data do not go together."""
    config.tables.check_tables(list(schema.features_of_tables))
    check_positions(config, schema)
    of_name = {feature.name: feature for feature in schema.sparse}
    smallest = min((feature.num_embeddings for feature in schema.sparse), default=1)
    return [
        [
            _first_order(config, of_name[name], group)
            if group.is_first_order
            else _embedding(config, of_name[name], group, smallest)
            for name in group.features
        ]
        for group in groups
    ]


def keys_of(config: ModelConfig, feature: SparseFeature) -> tuple[str, ...]:
    """The keys that a feature is looked up by: its name, those of its positions, or those of quotient and remainder."""
    if count := num_positions(config, feature):
        return tuple(position_key(feature, k) for k in range(count))
    if not _is_split(config, feature):
        return (feature.name,)
    return (feature.name + _QUOTIENT, feature.name + _REMAINDER)


def looked_up_features(config: ModelConfig, schema: Schema) -> tuple[SparseFeature, ...]:
    """The features as the tables see them, by key: what the planner's estimates count."""
    return tuple(
        replace(feature, name=key, table="", pooling_factor=factor)
        for feature in schema.sparse
        for key, factor in zip(keys_of(config, feature), _pooling_factors(config, feature), strict=True)
    )


def mixed_width(dim: int, rows: int, smallest: int, temperature: float, *, power_of_two: bool) -> int:
    """dim (smallest / rows) ** temperature columns, rounded, between 4 and `dim` (Ginart et al. 2019, algorithm 2).

    With a given width of the first block, as the reference's `md_solver` computes it, except that FBGEMM wants fours.
    """
    wanted = dim * (smallest / rows) ** temperature
    rounded = 2 ** round(math.log2(wanted)) if power_of_two else 4 * round(wanted / 4)
    return min(dim, max(_SMALLEST_WIDTH, rounded))


def _embedding(config: ModelConfig, feature: SparseFeature, group: TableGroup, smallest: int) -> FeatureVector:
    settings, dim = config.tables.of(feature.table_name), config.dim_of(feature.name)
    if settings.pooling == "mean" and feature.weighted:
        raise ConfigError(
            f"Table {feature.table_name} pools by mean, but feature {feature.name} has weights: its weighted sum is what they "
            "ask for. Set pooling to sum for it under model.tables.override."
        )
    scale = config.embedding_init_scale
    bound = math.sqrt(1.0 / feature.num_embeddings) if scale is None else scale
    whole = Piece(
        table=feature.table_name + group.suffix,
        key=feature.name,
        rows=feature.num_embeddings,
        width=settings.width or _width(config, feature, dim, smallest),
        low=-bound,
        high=bound,
        dtype=settings.dtype or "fp32",
        is_frozen=bool(settings.frozen),
        pretrained=settings.pretrained,
    )
    if whole.width > dim:
        raise ConfigError(
            f"Table {whole.table} is {whole.width} wide, its vectors {dim}: a table is projected up, never down."
        )
    return _vector(config, feature, whole, config.tables.quotient_remainder.operation, dim)


def _first_order(config: ModelConfig, feature: SparseFeature, group: TableGroup) -> FeatureVector:
    """A first-order term is split with its feature (as a sum) and pooled like it; it starts at 0 and is never frozen."""
    whole = Piece(
        table=feature.table_name + group.suffix,
        key=feature.name,
        rows=feature.num_embeddings,
        width=FIRST_ORDER_WIDTH,
        low=0.0,
        high=0.0,
    )
    return _vector(config, feature, whole, "add", FIRST_ORDER_WIDTH)


def _vector(config: ModelConfig, feature: SparseFeature, whole: Piece, operation: str, dim: int) -> FeatureVector:
    if count := num_positions(config, feature):
        pieces, operation = tuple(replace(whole, key=position_key(feature, k)) for k in range(count)), "position"
    else:
        pieces = _split(config, whole, operation) if _is_split(config, feature) else (whole,)
    is_mean = config.tables.of(feature.table_name).pooling == "mean"
    return FeatureVector(feature=feature.name, pieces=pieces, operation=operation, dim=dim, is_mean=is_mean)


def _split(config: ModelConfig, whole: Piece, operation: str) -> tuple[Piece, ...]:
    """Rows id // c and id % c. A product's remainders start around 1, so that ids of one quotient differ but keep its scale."""
    if whole.pretrained:
        raise ConfigError(f"Table {whole.table} cannot be both split into quotient and remainder and pretrained.")
    if operation == "concat" and whole.width % 8:
        raise ConfigError(
            f"Table {whole.table} is {whole.width} wide, and concat makes two of half that: FBGEMM's kernels take widths in "
            "fours. Choose a width in eights, or another model.tables.quotient_remainder.operation."
        )
    collisions = config.tables.quotient_remainder.collisions
    width = whole.width // 2 if operation == "concat" else whole.width
    quotient = replace(
        whole, table=whole.table + _QUOTIENT, key=whole.key + _QUOTIENT, rows=-(-whole.rows // collisions), width=width
    )
    low, high = (0.5, 1.5) if operation == "mult" else (whole.low, whole.high)
    remainder = replace(
        whole,
        table=whole.table + _REMAINDER,
        key=whole.key + _REMAINDER,
        rows=collisions,
        width=width,
        low=low,
        high=high,
    )
    return quotient, remainder


def _pooling_factors(config: ModelConfig, feature: SparseFeature) -> list[float]:
    """Mean ids per bag of each key."""
    if count := num_positions(config, feature):
        return shares_of_positions(feature.pooling_factor, count)
    return [feature.pooling_factor] * len(keys_of(config, feature))


def _is_split(config: ModelConfig, feature: SparseFeature) -> bool:
    trick, settings = config.tables.quotient_remainder, config.tables.of(feature.table_name)
    if trick.operation == "off":
        _check_not_asked(settings, feature.table_name)
        return False
    if settings.quotient_remainder is not None:
        return settings.quotient_remainder
    if settings.pooling == "position":
        return False
    return feature.num_embeddings > max(trick.threshold, trick.collisions)


def _check_not_asked(settings: TableOverride, table: str) -> None:
    if settings.quotient_remainder:
        raise ConfigError(
            f"model.tables.override asks to split table {table}, but model.tables.quotient_remainder.operation is off: "
            "set it to add, mult or concat."
        )


def _width(config: ModelConfig, feature: SparseFeature, dim: int, smallest: int) -> int:
    trick = config.tables.mixed_dimensions
    if not trick.temperature or feature.num_embeddings <= trick.threshold:
        return dim
    return mixed_width(dim, feature.num_embeddings, smallest, trick.temperature, power_of_two=trick.power_of_two)
