"""Strategies by name or from YAML, and back to plain values. Light: no torch here."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from data.errors import PlanError
from sharding_plans.names import unknown_name
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.strategies.strategy_catalog import STRATEGIES


def load_strategy(name_or_path: str) -> Strategy:
    """The strategy of that name, or of that YAML file; PlanError lists the known names, nearest first, or the wrong key."""
    if name_or_path in STRATEGIES:
        return STRATEGIES[name_or_path]
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return _read_strategy(Path(name_or_path))
    raise PlanError(
        unknown_name("strategy", name_or_path, STRATEGIES) + " A YAML file of your own is given by its path."
    )


def strategy_to_dict(strategy: Strategy) -> dict[str, Any]:
    """The strategy as JSON values, without what is left at its default."""
    return _without_defaults(strategy)


def strategy_from_dict(values: Any, *, origin: str) -> Strategy:
    """The strategy that a mapping describes; PlanError names `origin` and what is wrong."""
    if not isinstance(values, dict):
        raise PlanError(f"{origin} is no strategy: expected keys and values, found {type(values).__name__}.")
    taken = _checked(Strategy, values, origin)
    rules = taken.get("tables") or {}
    if not isinstance(rules, dict):
        raise PlanError(f"{origin}: tables is {rules!r}; expected table names or patterns, each with its keys.")
    taken["tables"] = {str(pattern): _rule(rule, f"{origin}: tables.{pattern}") for pattern, rule in rules.items()}
    if "together" in taken:
        taken["together"] = tuple(tuple(str(name) for name in group) for group in taken["together"])
    return _built(Strategy, taken, origin)


def _read_strategy(path: Path) -> Strategy:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"The strategy {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise PlanError(f"The strategy {path} is not YAML: {error}") from error
    if isinstance(values, dict):
        values.setdefault("name", path.stem)
    return strategy_from_dict(values, origin=str(path))


def _rule(values: Any, origin: str) -> TableRule:
    if not isinstance(values, dict):
        raise PlanError(f"{origin} is {values!r}; expected keys such as sharding_types or rank.")
    return _built(TableRule, _checked(TableRule, values, origin), origin)


def _checked(kind: type, values: dict[Any, Any], origin: str) -> dict[str, Any]:
    known = [one.name for one in fields(kind)]
    for key in values:
        if key not in known:
            raise PlanError(f"{origin}: " + unknown_name("key", str(key), known))
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _built(kind: type, values: dict[str, Any], origin: str) -> Any:
    try:
        return kind(**values)
    except PlanError as error:
        raise PlanError(f"{origin}: {error}") from error
    except TypeError as error:
        raise PlanError(f"{origin} has a value of the wrong kind: {error}.") from error


def _without_defaults(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(value):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        current = getattr(value, one.name)
        if current == default and one.name not in ("name", "description"):
            continue
        found[one.name] = _plain(current)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_defaults(rule) if isinstance(rule, TableRule) else rule for key, rule in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
