"""The columns of a raw row, as a request may give them: from the feature spec of the bundle."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import pyarrow as pa

from data.raw.spec_parser import column_types
from data.spec.feature_spec import FeatureSpec, without_label
from pipeline.serving.refusals import Refusal, bad_request

Kind = Literal["integer", "number", "text", "text or number"]
_KINDS: dict[pa.DataType, Kind] = {
    pa.int64(): "integer",
    pa.float64(): "number",
    pa.string(): "text",
    pa.binary(): "text",
}


@dataclass(frozen=True, kw_only=True)
class RawColumn:
    """One column. `held_as`: what its values, or the items of its lists, are held as; `separator`: between items in a text."""

    name: str
    kind: Kind
    held_as: pa.DataType
    is_list: bool = False
    separator: str = ""

    @cached_property
    def as_they_are(self) -> frozenset[type]:
        """Types of JSON values that need no second look."""
        if self.is_list or self.kind in ("integer", "text or number"):
            return frozenset({type(None)})
        return frozenset({type(None), str if self.kind == "text" else float})

    @property
    def arrow_type(self) -> pa.DataType:
        return pa.list_(self.held_as) if self.is_list else self.held_as


@dataclass(frozen=True, kw_only=True)
class RawColumns:
    """`read`: the columns that features come from. `passed_over`: label, row id and time, which the model does not look at.

    `missing`: texts that stand for a missing value, as in the files that the model was trained on.
    """

    read: tuple[RawColumn, ...]
    passed_over: frozenset[str]
    missing: frozenset[str]

    @cached_property
    def by_name(self) -> dict[str, RawColumn]:
        return {each.name: each for each in self.read}

    @property
    def known(self) -> frozenset[str]:
        return self.passed_over.union(self.by_name)

    def unknown(self, name: str) -> Refusal:
        """What to say of a column that the model does not have."""
        names = [each.name for each in self.read]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:5]
        return bad_request(
            f"There is no column {name[:100]!r}; the model reads {len(names)}, such as {', '.join(near)}."
        )


def raw_columns(spec: FeatureSpec) -> RawColumns:
    """The columns of the rows that a model with this spec takes."""
    lists = {each.column: each for each in spec.sparse if each.list}
    weights = {each.weights: each for each in spec.sparse if each.weights}
    singles = {each.column for each in (*spec.dense, *(item for item in spec.sparse if not item.list))}
    read = []
    for name, held in column_types(scored(spec)).items():
        uses = {each.type for each in (*spec.dense, *spec.sparse) if each.column == name}
        if name in singles or name not in lists | weights:
            kind: Kind = "text or number" if len(uses) > 1 and held == pa.string() else _KINDS[held]
            read.append(RawColumn(name=name, kind=kind, held_as=held))
        elif name in lists:
            read.append(_list_column(name, uses, lists[name].separator, bool(lists[name].weight_separator)))
        else:
            separator = weights[name].separator
            read.append(RawColumn(name=name, kind="number", held_as=pa.float64(), is_list=True, separator=separator))
    return RawColumns(
        read=tuple(read),
        passed_over=frozenset(_others(spec)).difference(each.name for each in read),
        missing=frozenset(spec.format.missing) if spec.format.kind != "parquet" else frozenset(),
    )


def scored(spec: FeatureSpec) -> FeatureSpec:
    """The spec without what scoring takes no notice of: label, row id, time."""
    return replace(without_label(spec), row_id="", timestamp=None)


def _list_column(name: str, uses: set[str], separator: str, has_weights: bool) -> RawColumn:
    types: dict[str, pa.DataType] = {"integer": pa.int64(), "number": pa.float64()}
    held = types.get(next(iter(uses)), pa.string()) if len(uses) == 1 and not has_weights else pa.string()
    return RawColumn(name=name, kind=_KINDS[held], held_as=held, is_list=True, separator=separator)


def _others(spec: FeatureSpec) -> Iterable[str]:
    """Columns of the training files that no feature comes from."""
    time = spec.timestamp.column if spec.timestamp else ""
    labels = (each.column for each in (spec.label, *spec.other_labels))
    return (name for name in (*labels, spec.row_id, time, *spec.format.columns) if name)
