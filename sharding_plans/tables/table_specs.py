"""The tables of a model as plain data: enough to plan for it in another process, and to say which model a plan is for.

Light: no torch here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
STATE_VALUE_BYTES = 4
STATE_VALUES: dict[str | None, tuple[int, int]] = {
    None: (0, 0),
    "sgd": (0, 0),
    "adagrad": (1, 0),
    "row_wise_adagrad": (0, 1),
    "adam": (2, 0),
    "partial_row_wise_adam": (1, 1),
    "lamb": (2, 0),
    "partial_row_wise_lamb": (1, 1),
}
"""Values that FBGEMM's kernels keep for each weight and for each row; an optimizer that is not here is taken for (1, 0)."""


_ACCESS_FIELDS = ("top_shares", "is_ordered")


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
    top_shares: tuple[tuple[int, float], ...] = ()
    """Shares of the lookups that fall on the k most frequent rows, as (k, share) ascending; none: all rows equally often."""
    is_ordered: bool = False
    """Whether rows lie in the order of their frequency, so that a split by rows gives the first shard more to do."""

    @property
    def weight_bytes(self) -> int:
        return self.num_embeddings * self.embedding_dim * DTYPE_BYTES[self.data_type]

    def state_bytes(self, rows: int | None = None, columns: int | None = None) -> int:
        """Bytes that the fused optimizer keeps beside a piece of the table, by default beside all of it.

        A piece keeps what it needs by itself: where a row is split by columns, each part has its own value per row.
        """
        height = self.num_embeddings if rows is None else rows
        width = self.embedding_dim if columns is None else columns
        return state_bytes(self.optimizer, height, width)

    @property
    def bytes_with_state(self) -> float:
        return float(self.weight_bytes + self.state_bytes())


def state_bytes(optimizer: str | None, rows: int, columns: int) -> int:
    """Bytes of a fused optimizer's state for a piece of a table: float32, whatever type the weights are of."""
    per_weight, per_row = STATE_VALUES.get(optimizer, (1, 0))
    return STATE_VALUE_BYTES * rows * (columns * per_weight + per_row)


@dataclass(frozen=True, kw_only=True)
class ModelTables:
    """All tables of a model, and the bytes of its dense parameters (which every rank holds besides)."""

    tables: tuple[TableSpec, ...]
    dense_bytes: int = 0

    @property
    def fingerprint(self) -> str:
        """16 hex digits over every table; equal fingerprints mean that a plan for one model is a plan for the other.

        How lookups are spread over rows has no part in it: that makes a plan better or worse, not another.
        """
        known = [{k: v for k, v in asdict(table).items() if k not in _ACCESS_FIELDS} for table in self.tables]
        text = json.dumps(known, sort_keys=True)
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
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(table).items()}
    return {key: value for key, value in values.items() if value or key not in _ACCESS_FIELDS}


def table_from_dict(values: Mapping[str, Any]) -> TableSpec:
    """The table that `table_to_dict` wrote; KeyError or TypeError for anything else."""
    required = [field.name for field in fields(TableSpec) if field.name not in _ACCESS_FIELDS]
    taken: dict[str, Any] = {name: values[name] for name in required}
    taken |= {key: tuple(taken[key]) for key in ("features", "pooling_factors")}
    shares = tuple((int(count), float(share)) for count, share in values.get("top_shares", ()))
    return TableSpec(**taken, top_shares=shares, is_ordered=bool(values.get("is_ordered", False)))
