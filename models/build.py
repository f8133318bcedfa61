"""From settings to a ranker."""

import torch

from data.errors import ConfigError
from data.schema import Schema
from models.composition import Composition
from models.config import ModelConfig
from models.dense_scaling import DenseScale, Standardise
from models.lookup_keys import lookup_keys
from models.ranker import Ranker
from models.rankers.arch import Arch
from models.registry import arch_class
from models.table_layout import lay_out, looked_up_features
from models.tables import build_tables
from models.targets import build_arch, target_groups


def build_ranker(
    config: ModelConfig,
    schema: Schema,
    *,
    device: torch.device | str = "meta",
    seed: int = 0,
    dense_scale: DenseScale | None = None,
    num_slices: int = 1,
) -> Ranker:
    """The ranker that `config` describes, for data of the given schema.

    `device` is where the embedding tables are made: "meta" (allocated later, shard by shard) or "cpu" (an unsharded model).
    The dense part is made on the CPU from `seed`, equal on every rank. `dense_scale` is needed for `standardise_dense`;
    `num_slices` is for training on batches whose activations do not fit.
    Raises ConfigError where widths do not fit.
    """
    config.check_fits(schema)
    chosen = arch_class(config.ranker)
    if not (isinstance(chosen, type) and issubclass(chosen, Arch)):
        raise ConfigError(f"model.ranker is {config.ranker!r}, which is no subclass of models.rankers.arch.Arch.")
    groups = target_groups(chosen, config, schema)
    layout = lay_out(config, schema, groups)
    generator = torch.Generator().manual_seed(seed)
    arch = build_arch(chosen, config, schema, generator)
    return Ranker(
        build_tables(layout, device, is_weighted=schema.is_weighted),
        groups,
        layout,
        arch,
        split_ids=lookup_keys(config, schema),
        compose=Composition(layout, schema.sparse_names, generator),
        looked_up=looked_up_features(config, schema),
        standardise=_standardise(config, dense_scale),
        embedding_dropout=config.embedding_dropout,
        num_slices=num_slices,
    )


def _standardise(config: ModelConfig, scale: DenseScale | None) -> Standardise | None:
    if not config.standardise_dense:
        return None
    if scale is None:
        raise ConfigError(
            "model.standardise_dense needs the train split's statistics, which only prepared data have; "
            "set data.source=prepared, or model.standardise_dense=false."
        )
    return Standardise(scale)
