"""How many positions of a feature's bag have a learned weight, and what their lookups are called.

No torch here: a layout is names and numbers.
"""

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.config import ModelConfig


def check_positions(config: ModelConfig, schema: Schema) -> None:
    """ConfigError for a table pooled by position none of whose features has lists."""
    for table, features in schema.features_of_tables.items():
        if config.tables.of(table).pooling == "position" and not any(feature.is_list for feature in features):
            raise ConfigError(
                f"model.tables.override: table {table} is pooled by position, but none of its features has lists. Pool it by sum."
            )


def num_positions(config: ModelConfig, feature: SparseFeature) -> int:
    """Positions that are weighed; 0 where the feature is pooled in another way, or has single ids.

    ConfigError where their number is not known, or a table is split into quotient and remainder as well.
    """
    table = feature.table_name
    settings = config.tables.of(table)
    if settings.pooling != "position":
        if settings.positions:
            raise ConfigError(
                f"model.tables.override sets positions for table {table}, which is pooled by {settings.pooling}: set pooling "
                "to position for it, or remove positions."
            )
        return 0
    if settings.quotient_remainder:
        raise ConfigError(f"Table {table} cannot be both split into quotient and remainder and pooled by position.")
    if not feature.is_list:
        return 0
    return _checked(settings.positions, feature)


def position_key(feature: SparseFeature, position: int) -> str:
    """The key that looks up the ids at a position, counted from 0; it is named from 1."""
    return f"{feature.name}_p{position + 1}"


def shares_of_positions(pooling_factor: float, count: int) -> list[float]:
    """About how many ids a bag has at each position, if bags are of one length; their sum is the pooling factor."""
    before = [min(1.0, max(0.0, pooling_factor - k)) for k in range(count - 1)]
    return [*before, max(0.0, pooling_factor - (count - 1))]


def _checked(asked: int | None, feature: SparseFeature) -> int:
    longest = feature.max_length
    found = min(asked or longest, longest) if longest else asked
    if found is None:
        raise ConfigError(
            f"Table {feature.table_name} is pooled by position, but feature {feature.name} has lists of any length: say how "
            f"many positions have a weight of their own, model.tables.override.{feature.table_name}.positions."
        )
    if found < 2:
        raise ConfigError(
            f"Table {feature.table_name} is pooled by position, but feature {feature.name} has lists of at most one id: pool "
            "it by sum."
        )
    return found
