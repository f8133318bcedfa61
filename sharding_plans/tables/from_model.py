"""From a model to its tables as plain data, and back to a module that TorchRec can plan for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torchrec.distributed.types import get_tensor_size_bytes
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.optim.fused import FusedOptimizer

from data.errors import PlanError
from sharding_plans.tables.access import TopShares
from sharding_plans.tables.fused_algorithms import ALGORITHMS, attached
from sharding_plans.tables.table_specs import ModelTables, TableSpec

_DTYPES = {"fp32": DataType.FP32, "fp16": DataType.FP16, "bf16": DataType.BF16, "int8": DataType.INT8}


def describe_tables(
    module: nn.Module,
    pooling_factors: Mapping[str, float] | None = None,
    access: Mapping[str, tuple[TopShares, bool]] | None = None,
) -> ModelTables:
    """The tables of every EmbeddingBagCollection in the module; `pooling_factors` maps a feature to its mean ids per bag.

    A feature without one is taken to have 1. `access` maps a feature to how its ids are spread over rows (top shares, and
    whether rows lie in the order of their frequency); a table takes over what its first feature has. Attach the fused
    optimizer first: its state is part of a table's memory. Raises PlanError when two tables share a name.
    """
    found: list[TableSpec] = []
    for path, child in module.named_modules():
        if isinstance(child, EmbeddingBagCollection):
            specs = [_spec(path, child, config, pooling_factors or {}) for config in child.embedding_bag_configs()]
            found += [_with_access(spec, access or {}) for spec in specs]
    _refuse_twins(found)
    return ModelTables(tables=tuple(found), dense_bytes=_dense_bytes(module))


def build_tables_module(model: ModelTables) -> nn.Module:
    """A module with the same tables at the same paths, on the meta device: all that the planner needs of the model."""
    by_path: dict[str, list[TableSpec]] = {}
    for table in model.tables:
        by_path.setdefault(table.module, []).append(table)
    root = nn.Module()
    for path, tables in by_path.items():
        collection = _collection(tables)
        if path == "":
            return collection
        _attach(root, path.split("."), collection)
    return root


def _spec(
    path: str, collection: EmbeddingBagCollection, config: EmbeddingBagConfig, pooling_factors: Mapping[str, float]
) -> TableSpec:
    weight = collection.embedding_bags[config.name].weight
    optimizer, settings = attached(weight)  # pyright: ignore[reportArgumentType]
    return TableSpec(
        name=config.name,
        module=path,
        num_embeddings=config.num_embeddings,
        embedding_dim=config.embedding_dim,
        data_type=config.data_type.value.lower(),
        pooling=config.pooling.value.lower(),
        is_weighted=collection.is_weighted(),
        features=tuple(config.feature_names),
        pooling_factors=tuple(float(pooling_factors.get(name, 1.0)) for name in config.feature_names),
        optimizer=optimizer,
        weight_decay=float(settings.get("weight_decay", 0.0)),
    )


def _with_access(spec: TableSpec, access: Mapping[str, tuple[TopShares, bool]]) -> TableSpec:
    top_shares, is_ordered = access.get(spec.features[0], ((), False)) if spec.features else ((), False)
    return replace(spec, top_shares=top_shares, is_ordered=is_ordered)


def _optimizer_class(name: str) -> type[Any]:
    """A class that TorchRec's storage estimate treats as it treats the named one: unknown ones count one value per weight."""
    return ALGORITHMS[name].optimizer if name in ALGORITHMS else FusedOptimizer


def _collection(tables: list[TableSpec]) -> EmbeddingBagCollection:
    configs = [_config(table) for table in tables]
    collection = EmbeddingBagCollection(configs, is_weighted=tables[0].is_weighted, device=torch.device("meta"))
    for table in tables:
        if table.optimizer is not None:
            weight: Any = collection.embedding_bags[table.name].weight
            weight._optimizer_classes = [_optimizer_class(table.optimizer)]
            weight._optimizer_kwargs = [{"weight_decay": table.weight_decay}]
    return collection


def _config(table: TableSpec) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(
        name=table.name,
        num_embeddings=table.num_embeddings,
        embedding_dim=table.embedding_dim,
        feature_names=list(table.features),
        data_type=_DTYPES[table.data_type],
        pooling=PoolingType.MEAN if table.pooling == "mean" else PoolingType.SUM,
    )


def _attach(parent: nn.Module, path: list[str], child: nn.Module) -> None:
    for name in path[:-1]:
        if not hasattr(parent, name):
            parent.add_module(name, nn.Module())
        parent = getattr(parent, name)
    parent.add_module(path[-1], child)


def _refuse_twins(tables: list[TableSpec]) -> None:
    names = [table.name for table in tables]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise PlanError(
            f"Two tables are named {twins[0]}: TorchRec's constraints go by name, so every table needs a name of its own."
        )


def _dense_bytes(module: nn.Module) -> int:
    sharded = {id(p) for m in module.modules() if isinstance(m, EmbeddingBagCollection) for p in m.parameters()}
    return sum(get_tensor_size_bytes(p) for p in module.parameters() if id(p) not in sharded)
