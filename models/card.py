"""What a ranker consists of, counted: values and bytes by part, arithmetic and memory traffic per sample, and how parts connect.

Everything is measured on the ranker itself, with two rows of zeros through its arch, so that it holds for anybody's own arch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import cleandoc, getmodule

import torch
from torch import nn

from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.card_trace import BETWEEN, ArchTrace
from models.config import ModelConfig
from models.registry import arch_class
from models.table_layout import FeatureVector, TableGroup, lay_out
from models.tables import FIRST_ORDER
from models.targets import target_groups

_ROWS = 2
_BYTES = {"fp32": 4, "fp16": 2}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the arch: its trained values, its arithmetic (a multiply-add is two), and the parts that it reads."""

    name: str
    parameters: int
    flops_per_sample: int
    out_features: int
    """Columns that it gives for a row."""
    inputs: tuple[str, ...] = ()
    """Names of parts, or of what comes in: `dense` and the table groups."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of one group."""

    name: str
    num_tables: int
    num_rows: int
    parameters: int
    num_bytes: int
    bytes_per_sample: float
    """Bytes of rows that a forward pass reads for one row of a batch, at the schema's mean bag sizes."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A ranker in figures."""

    ranker: str
    formula: str
    interactions: str
    num_dense: int
    tables: tuple[Tables, ...]
    parts: tuple[Part, ...]
    logit_inputs: tuple[str, ...]
    """The parts whose sum or last step is the logit."""

    @property
    def dense_parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def table_parameters(self) -> int:
        return sum(group.parameters for group in self.tables)

    @property
    def num_bytes(self) -> int:
        """Bytes of all weights: tables as they are stored, the dense part in float32."""
        return sum(group.num_bytes for group in self.tables) + 4 * self.dense_parameters

    @property
    def flops_per_sample(self) -> int:
        """Arithmetic of a forward pass, lookups left out; a training step takes about three times as much."""
        return sum(part.flops_per_sample for part in self.parts)

    @property
    def embedding_bytes_per_sample(self) -> float:
        return sum(group.bytes_per_sample for group in self.tables)


def model_card(config: ModelConfig, schema: Schema) -> ModelCard:
    """The card of the ranker that `config` describes, for data of this schema; its tables are never allocated."""
    ranker = build_ranker(replace(config, standardise_dense=False), schema)
    chosen = arch_class(config.ranker)
    groups = target_groups(chosen, config, schema)
    layout = lay_out(config, schema, groups)
    names = [_name_of(group) for group in groups]
    trace = _traced(ranker.arch, schema, dict(zip(names, layout, strict=True)))
    document = getmodule(chosen)
    return ModelCard(
        ranker=config.ranker,
        formula=_formula((document and document.__doc__) or ""),
        interactions=str(getattr(ranker.arch, "interactions", "")),
        num_dense=len(schema.dense),
        tables=tuple(_tables(name, group, schema) for name, group in zip(names, layout, strict=True)),
        parts=(*_composed(ranker.compose, layout), *_parts(ranker.arch, trace)),
        logit_inputs=trace.sources_of_result,
    )


def _name_of(group: TableGroup) -> str:
    own = group.suffix.removeprefix(FIRST_ORDER).removeprefix("_")
    if group.is_first_order:
        return f"first-order terms, {own}" if own else "first-order terms"
    return f"embeddings{group.suffix.replace('_', ' ')}"


def _tables(name: str, group: Sequence[FeatureVector], schema: Schema) -> Tables:
    features = {feature.name: feature for feature in schema.sparse}
    pieces = {piece.table: piece for vector in group for piece in vector.pieces}
    return Tables(
        name=name,
        num_tables=len(pieces),
        num_rows=sum(piece.rows for piece in pieces.values()),
        parameters=sum(piece.rows * piece.width for piece in pieces.values()),
        num_bytes=sum(piece.rows * piece.width * _BYTES[piece.dtype] for piece in pieces.values()),
        bytes_per_sample=sum(_bytes_read(vector, features[vector.feature]) for vector in group),
    )


def _bytes_read(vector: FeatureVector, feature: SparseFeature) -> float:
    of_each_id = sum(piece.width * _BYTES[piece.dtype] for piece in vector.pieces)
    if vector.operation == "position":  # an id is looked up at its own position only
        of_each_id /= len(vector.pieces)
    return feature.pooling_factor * of_each_id


def _traced(arch: nn.Module, schema: Schema, groups: dict[str, list[FeatureVector]]) -> ArchTrace:
    """Two rows of zeros through the arch, watched."""
    widths = {name: _group_width(group) for name, group in groups.items()}
    dense = torch.zeros(_ROWS, len(schema.dense))
    pooled = [torch.zeros(_ROWS, width) for width in widths.values()]
    was_training = arch.training
    with torch.no_grad(), ArchTrace(arch, {"dense": dense, **dict(zip(widths, pooled, strict=True))}) as trace:
        trace.finish(arch.eval()(dense, pooled))
    arch.train(was_training)
    return trace


def _group_width(group: Sequence[FeatureVector]) -> int:
    return sum(vector.dim for vector in group)


def _composed(compose: nn.Module, layout: Sequence[Sequence[FeatureVector]]) -> list[Part]:
    """Learned weights of positions, and projections of narrow tables to the common width, where there are any."""
    weighted = [vector for group in layout for vector in group if vector.operation == "position"]
    num_weights = sum(len(vector.pieces) for vector in weighted)
    size = sum(weight.numel() for weight in compose.parameters()) - num_weights
    flops = sum(2 * len(vector.pieces) * vector.width for vector in weighted)
    parts = [
        Part(name="position weights", parameters=num_weights, flops_per_sample=flops, out_features=0),
        Part(name="projections", parameters=size, flops_per_sample=2 * size, out_features=0),
    ]
    return [part for part in parts if part.parameters]


def _parts(arch: nn.Module, trace: ArchTrace) -> list[Part]:
    """The arch's children in the order in which they ran, and what happens between them."""
    children = dict(arch.named_children())
    own = sum(weight.numel() for weight in arch.parameters(recurse=False))
    parts = [
        Part(
            name=name,
            parameters=sum(weight.numel() for weight in children[name].parameters()),
            flops_per_sample=trace.flops[name] // _ROWS,
            out_features=width,
            inputs=trace.inputs[name],
        )
        for name, width in trace.widths.items()
    ]
    between = trace.flops[BETWEEN] // _ROWS
    rest = Part(name=BETWEEN, parameters=own, flops_per_sample=between, out_features=1)
    return [*parts, rest] if own or between else parts


def _formula(document: str) -> str:
    """The lines of a module's docstring that say what is computed: the indented ones, and those with `logit = `."""
    lines = cleandoc(document).splitlines()
    return "\n".join(line.strip() for line in lines if line.startswith("    ") or "logit = " in line)
