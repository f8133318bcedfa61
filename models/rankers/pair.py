"""The two features of rankers that know only a user and an item."""

import difflib

from data.errors import ConfigError
from data.schema import Schema
from models.config import ModelConfig


def user_and_item(config: ModelConfig, schema: Schema) -> tuple[str, str]:
    """The names of the two features, by default the first two; ConfigError where the data do not have them."""
    names = schema.sparse_names
    if len(names) < 2:
        raise ConfigError(f"model.ranker={config.ranker} needs two sparse features; the data have {len(names)}.")
    user, item = config.user or names[0], config.item or names[1]
    for key, name in (("user", user), ("item", item)):
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            known = [*close, *(other for other in names if other not in close)]
            raise ConfigError(f"model.{key} is {name!r}, which the data do not have; features: {', '.join(known)}.")
    if user == item:
        raise ConfigError(f"model.user and model.item are both {user!r}; name two features.")
    return user, item


def check_pair_widths(config: ModelConfig, schema: Schema) -> None:
    """ConfigError where user and item differ in width."""
    for name in user_and_item(config, schema):
        if config.dim_of(name) != config.embedding_dim:
            raise ConfigError(
                f"model.embedding_dims.{name} is {config.dim_of(name)} but model.embedding_dim is {config.embedding_dim}: "
                f"model.ranker={config.ranker} multiplies user and item, so both have one width. Remove the entry."
            )
