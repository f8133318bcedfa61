"""Embedding tables in fewer bits, by FBGEMM's kernels behind TorchRec's quantized EmbeddingBagCollection.

A quantized row is its values and, for int8 and int4, a scale and a bias in float16 behind them. FP32 and FP16 rows are stored
as they are, so that every table can have a type of its own in one collection.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchrec.modules.embedding_configs import DataType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.quant.embedding_modules import EmbeddingBagCollection as QuantEmbeddingBagCollection

_DATA_TYPES = {"fp32": DataType.FP32, "fp16": DataType.FP16, "int8": DataType.INT8, "int4": DataType.INT4}
_BITS = {"int8": 8, "int4": 4}
_SCALE_BYTES = 4
_STORED = "tables."
_FLOAT_TABLE = re.compile(r"ebc\.embedding_bags\.(.+)\.weight")


def quantized_rows(weight: Tensor, kind: str) -> Tensor:
    """uint8 [rows, bytes of a row]: the rows of a float table in a type."""
    if kind == "fp32":
        return weight.float().contiguous().view(torch.uint8)
    if kind == "fp16":
        return weight.half().contiguous().view(torch.uint8)
    return torch.ops.fbgemm.FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf(weight.contiguous(), _BITS[kind])


def float_rows(rows: Tensor, kind: str) -> Tensor:
    """float32 [rows, width]: what the rows of a type stand for."""
    if kind == "fp32":
        return rows.view(torch.float32)
    if kind == "fp16":
        return rows.view(torch.float16).float()
    return torch.ops.fbgemm.FusedNBitRowwiseQuantizedSBHalfToFloatOrHalf(rows, _BITS[kind], 0)


def row_bytes(width: int, kind: str) -> int:
    """Bytes of a stored row."""
    return {"fp32": 4 * width, "fp16": 2 * width, "int8": width + _SCALE_BYTES, "int4": width // 2 + _SCALE_BYTES}[kind]


def float_tables(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float tables among the weights, by table."""
    return {match[1]: weight for name, weight in weights.items() if (match := _FLOAT_TABLE.fullmatch(name))}


def with_quantized_tables(weights: Mapping[str, Tensor], kinds: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights with the rows of all tables in the types given, in place of the float tables."""
    others = {name: weight for name, weight in weights.items() if not _FLOAT_TABLE.fullmatch(name)}
    tables = float_tables(weights)
    return others | {_STORED + name: quantized_rows(weight, kinds[name]) for name, weight in tables.items()}


def split_weights(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Quantized rows by table, and all the other weights."""
    tables = {name.removeprefix(_STORED): weight for name, weight in weights.items() if name.startswith(_STORED)}
    return tables, {name: weight for name, weight in weights.items() if not name.startswith(_STORED)}


def quantized_tables(
    tables: EmbeddingBagCollection, rows: Mapping[str, Tensor], kinds: Mapping[str, str], *, is_weighted: bool
) -> Any:
    """The quantized twin of float tables (their shapes alone are read) with these rows; gives float32."""
    configs = [copy.copy(config) for config in tables.embedding_bag_configs()]
    for config in configs:
        config.data_type = _DATA_TYPES[kinds[config.name]]
    split = {config.name: _values_and_scales(rows[config.name], kinds[config.name]) for config in configs}
    return QuantEmbeddingBagCollection(
        configs,
        is_weighted,
        torch.device("cpu"),
        table_name_to_quantized_weights=split,  # pyright: ignore[reportArgumentType]
    )


def _values_and_scales(rows: Tensor, kind: str) -> tuple[Tensor, Tensor | None]:
    if kind not in _BITS:
        return rows, None
    return rows[:, :-_SCALE_BYTES], rows[:, -_SCALE_BYTES:]
