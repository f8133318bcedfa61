"""A feature spec from YAML, every mistake with the place it stands at."""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from data.errors import ConfigError
from data.spec.feature_spec import FeatureSpec, LabelSpec, Transform

T = TypeVar("T")
_RANGE = re.compile(r"(.*?)(\d+)\.\.\1(\d+)")
_PER_COLUMN = ("num_rows", "min_count", "multi_hot")


def load_spec(path: str | Path) -> FeatureSpec:
    """The spec in a YAML file. ConfigError names the file, the place in it and what was expected."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"The spec {path} cannot be read: {error.strerror}. Expected a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The spec {path} is no YAML: {error}") from error
    try:
        return spec_of(values)
    except ConfigError as error:
        raise ConfigError(f"The spec {path}: {error}") from error


def spec_of(values: Any) -> FeatureSpec:
    """The spec in plain values, as YAML gives them."""
    if not isinstance(values, Mapping):
        raise ConfigError("expected format, label, dense and sparse, found no mapping. See docs/data.md.")
    values = dict(values)
    for kind in ("dense", "sparse"):
        entries = values.get(kind) or []
        if not isinstance(entries, list):
            raise ConfigError(f"{kind} is {entries!r}; expected a list of features.")
        values[kind] = [one for i, entry in enumerate(entries) for one in _single(entry, f"{kind}[{i}]")]
    values |= _labels(values)
    if isinstance(values.get("format"), str):
        values["format"] = {"kind": values["format"]}
    return _build(FeatureSpec, values, "")


def _labels(values: dict[str, Any]) -> dict[str, Any]:
    """`label`, one column, or `labels`, a list whose first is the label that all jobs judge by."""
    if "other_labels" in values:
        raise ConfigError(f"other_labels is not known{_nearest('other_labels', ['labels', 'label'])}.")
    if "labels" not in values:
        label = values.get("label")
        return {"label": {"column": label}} if isinstance(label, str) else {}
    if "label" in values:
        raise ConfigError("expected either label, or labels for several targets, found both.")
    labels = values.pop("labels")
    if not isinstance(labels, list) or not labels:
        raise ConfigError(f"labels is {labels!r}; expected a list of targets, the main one first.")
    first, *others = [{"column": each} if isinstance(each, str) else each for each in labels]
    for i, label in enumerate((first, *others)):
        _build(LabelSpec, label, f"labels[{i}]")  # so that a mistake is told at its place in the list
    return {"label": first, "other_labels": others}


def expand(names: list[str]) -> list[str]:
    """C1..C26 as C1, C2, ... C26; other names as they are."""
    return [name for given in names for name in _expand_one(given)]


def _expand_one(name: str) -> list[str]:
    match = _RANGE.fullmatch(name)
    if not match:
        return [name]
    stem, first, last = match[1], int(match[2]), int(match[3])
    if not first <= last <= first + 99_999:
        raise ConfigError(f"{name!r} is no range of columns: expected something like C1..C26.")
    return [f"{stem}{number}" for number in range(first, last + 1)]


def _single(entry: Any, where: str) -> Iterator[dict[str, Any]]:
    """One entry per feature: `columns` names several that are treated alike; num_rows and the like may then be lists."""
    if isinstance(entry, str):
        entry = {"column": entry}
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is {entry!r}; expected a column's name, or a mapping with column and more.")
    entry = dict(entry)
    if ("column" in entry) == ("columns" in entry):
        raise ConfigError(f"{where}: expected either column, or columns for several that are treated alike.")
    if "column" in entry:
        yield {"name": entry["column"], **entry}
        return
    if "name" in entry:
        raise ConfigError(f"{where}: several columns are named after themselves; drop name.")
    columns = _texts(entry.pop("columns"), f"{where}.columns")
    for i, column in enumerate(columns):
        yield {"name": column, "column": column} | {
            key: _for_column(value, i, columns, f"{where}.{key}") if key in _PER_COLUMN else value
            for key, value in entry.items()
        }


def _for_column(value: Any, index: int, columns: list[str], where: str) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get("size"), list):
        return {**value, "size": _for_column(value["size"], index, columns, f"{where}.size")}
    if not isinstance(value, list):
        return value
    if len(value) != len(columns):
        raise ConfigError(f"{where} has {len(value)} numbers for {len(columns)} columns; expected one each.")
    return value[index]


def _texts(value: Any, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values) or not values:
        raise ConfigError(f"{where} is {value!r}; expected names, such as [C1..C26].")
    return expand(values)


def _build(cls: type[T], values: Any, where: str) -> T:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'the spec'} is {values!r}; expected a mapping.")
    prefix = f"{where}." if where else ""
    types_of, known = typing.get_type_hints(cls), [item.name for item in fields(cls)]  # pyright: ignore[reportArgumentType]
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}{key} is not known{_nearest(str(key), known)}.")
    for item in fields(cls):  # pyright: ignore[reportArgumentType]
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{prefix}{item.name} is absent, and needed.")
    return cls(**{key: _value(types_of[key], value, f"{prefix}{key}") for key, value in values.items()})


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.3)
    rest = [name for name in known if name not in near]
    return f"; known, nearest first: {', '.join([*near, *rest])}"


def _value(kind: Any, value: Any, where: str) -> Any:
    """`value` as the type that the dataclass declares."""
    if typing.get_origin(kind) is types.UnionType:
        if value is None:
            return None
        (kind,) = (each for each in typing.get_args(kind) if each is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return _choice(typing.get_args(kind), value, where)
    if typing.get_origin(kind) is tuple:
        return _items(typing.get_args(kind)[0], value, where)
    if kind is Transform:
        return _transform(value, where)
    if is_dataclass(kind):
        return _build(kind, value, where)  # pyright: ignore[reportArgumentType]
    return _plain(kind, value, where)


def _choice(choices: tuple[str, ...], value: Any, where: str) -> str:
    if value not in choices:
        raise ConfigError(f"{where} is {value!r}; expected one of {', '.join(choices)}.")
    return value


def _items(kind: Any, value: Any, where: str) -> tuple:
    if kind is str:
        return tuple(_texts(value, where)) if where.endswith("columns") else tuple(_plain_texts(value, where))
    if not isinstance(value, list):
        raise ConfigError(f"{where} is {value!r}; expected a list.")
    return tuple(_value(kind, item, f"{where}[{i}]") for i, item in enumerate(value))


def _plain_texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f'{where} is {value!r}; expected a list of texts, such as ["", "NA"].')
    return value


def _transform(value: Any, where: str) -> Transform:
    """`log`, `standardise`, or `{clip: [low, high]}`."""
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ConfigError(f"{where} is {value!r}; expected log, standardise or {{clip: [low, high]}}.")
    ((kind, bounds),) = value.items()
    _choice(("log", "clip", "standardise"), kind, where)
    if kind != "clip":
        return Transform(kind=kind)
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ConfigError(f"{where}: clip is {bounds!r}; expected [low, high], null where there is no bound.")
    low, high = (None if bound is None else _plain(float, bound, where) for bound in bounds)
    return Transform(kind="clip", low=low, high=high)


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)) or value != value:
        words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{where} is {value!r}; expected {words[kind]}.")
    return value
