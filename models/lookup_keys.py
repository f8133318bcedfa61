"""What stands between a batch's KJT and the tables: features parted by position, ids split in quotient and remainder."""

from collections import Counter

from torch import nn

from data.errors import ConfigError
from data.schema import Schema
from models.composition import SplitIds
from models.config import ModelConfig
from models.position_layout import num_positions
from models.positions import SplitPositions
from models.table_layout import keys_of


def lookup_keys(config: ModelConfig, schema: Schema) -> nn.Module | None:
    """A module from the batch's KJT to the one that tables are looked up by; None where that is the same."""
    _check_once([key for feature in schema.sparse for key in keys_of(config, feature)])
    parted, split = {}, {}
    for feature in schema.sparse:
        keys = keys_of(config, feature)
        is_parted = num_positions(config, feature) > 0
        parted[feature.name] = keys if is_parted else (feature.name,)
        split |= {key: (key,) for key in keys} if is_parted else {feature.name: keys}
    steps: list[nn.Module] = []
    if any(len(keys) > 1 for keys in parted.values()):
        steps.append(SplitPositions(parted, is_weighted=schema.is_weighted))
    if any(len(keys) > 1 for keys in split.values()):
        steps.append(SplitIds(split, config.tables.quotient_remainder.collisions))
    if len(steps) < 2:
        return steps[0] if steps else None
    return nn.Sequential(*steps)


def _check_once(keys: list[str]) -> None:
    for key, times in Counter(keys).items():
        if times > 1:
            raise ConfigError(
                f"{key!r} would be looked up twice: a feature is called like a part of another one. Rename one of the two in "
                "the data's spec."
            )
