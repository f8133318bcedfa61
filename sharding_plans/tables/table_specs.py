"""The tables of a model as plain data: enough to plan for it in another process, and to say which model a plan is for.

Light: no torch here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One embedding table: what it holds, who looks it up and how often, what its optimizer keeps beside each row."""

    name: str
    module: str
    """Path of its EmbeddingBagCollection in the model."""
    num_embeddings: int
    embedding_dim: int
    data_type: str = "fp32"
    pooling: str = "sum"
    is_weighted: bool = False
    features: tuple[str, ...]
    pooling_factors: tuple[float, ...]
    """Mean ids per bag, one per feature."""
    optimizer: str | None = None
    """sgd, adagrad, adam, row_wise_adagrad; another class by its name; none: no fused optimizer is attached."""
    weight_decay: float = 0.0
    """Decay inside the fused optimizer, which rules out data-parallel tables."""

    @property
    def weight_bytes(self) -> int:
        return self.num_embeddings * self.embedding_dim * DTYPE_BYTES[self.data_type]

    @property
    def optimizer_values_per_weight(self) -> float:
        """Values that the optimizer keeps for each weight, as TorchRec's storage estimate counts them."""
        if self.optimizer in (None, "sgd"):
            return 0.0
        return {"adam": 2.0, "row_wise_adagrad": 1.0 / self.embedding_dim}.get(self.optimizer or "", 1.0)

    @property
    def bytes_with_state(self) -> float:
        return self.weight_bytes * (1.0 + self.optimizer_values_per_weight)


@dataclass(frozen=True, kw_only=True)
class ModelTables:
    """All tables of a model, and the bytes of its dense parameters (which every rank holds besides)."""

    tables: tuple[TableSpec, ...]
    dense_bytes: int = 0

    @property
    def fingerprint(self) -> str:
        """16 hex digits over every table; equal fingerprints mean that a plan for one model is a plan for the other."""
        text = json.dumps([asdict(table) for table in self.tables], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(table.name for table in self.tables)

    def replace_tables(self, names: Iterable[str], **changes: Any) -> "ModelTables":
        """The same model with some fields of the named tables changed."""
        wanted = set(names)
        tables = tuple(replace(table, **changes) if table.name in wanted else table for table in self.tables)
        return replace(self, tables=tables)


def table_to_dict(table: TableSpec) -> dict[str, Any]:
    """The table as a mapping of JSON values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(table).items()}


def table_from_dict(values: Mapping[str, Any]) -> TableSpec:
    """The table that `table_to_dict` wrote; KeyError or TypeError for anything else."""
    taken: dict[str, Any] = {field.name: values[field.name] for field in fields(TableSpec)}
    return TableSpec(**{**taken, **{key: tuple(taken[key]) for key in ("features", "pooling_factors")}})
