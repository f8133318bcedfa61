"""Plan files: a plan as JSON that a person can read, edit and compare by line, and that comes back exactly. No torch here."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from data.errors import PlanError
from sharding_plans.files.layout import Cost, PlanFile, Search, ShardPlan, TablePlan
from sharding_plans.files.layout_checks import check_layout
from sharding_plans.machines.hardware import profile_from_dict, profile_to_dict
from sharding_plans.strategies.strategy_files import strategy_from_dict, strategy_to_dict
from sharding_plans.tables.table_specs import table_from_dict, table_to_dict

FORMAT, VERSION = "shardline-plan", 1
_LINE = 220


def save(plan: PlanFile, path: str | Path) -> Path:
    """The path, under which the plan now lies whole: written aside first, so a killed job leaves no half of one."""
    target = Path(path)
    aside = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            file.write(to_text(plan))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise PlanError(f"The plan cannot be written to {target}: {error}.") from error
    return target


def load(path: str | Path) -> PlanFile:
    """The plan that lies under the path, equal to what was saved.

    Raises PlanError, in one message, for what is not there, no JSON, no plan, of a newer format, or edited so that shards
    overlap, leave a gap or lie on ranks that do not exist.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"The plan {source} cannot be read: {error}.") from error
    return from_text(text, origin=str(source))


def to_text(plan: PlanFile) -> str:
    """The plan as JSON: one line per shard and per rank, keys in a fixed order."""
    return _pretty(_to_dict(plan)) + "\n"


def from_text(text: str, *, origin: str) -> PlanFile:
    """The plan that `to_text` wrote; PlanError names `origin`."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(
            f"{origin} is no whole JSON document (line {error.lineno}: {error.msg}); it may be cut off. Plan again."
        ) from error
    _check_format(values, origin)
    try:
        plan = _from_dict(values, origin)
    except KeyError as error:
        raise PlanError(f"{origin} is no whole plan: the key {error} is missing.") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise PlanError(f"{origin} is no whole plan: a value is of the wrong kind ({error}).") from error
    check_layout(plan, origin)
    return plan


def _to_dict(plan: PlanFile) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": plan.fingerprint,
        "model_fingerprint": plan.model.fingerprint,
        "created": plan.created,
        "versions": dict(plan.versions),
        "num_ranks": plan.num_ranks,
        "ranks_per_host": plan.ranks_per_host,
        "global_batch_size": plan.global_batch_size,
        "local_batch_size": plan.local_batch_size,
        "reserved_fraction": plan.reserved_fraction,
        "dense_bytes": plan.dense_bytes,
        "capacity_bytes": plan.capacity_bytes,
        "host_capacity_bytes": plan.host_capacity_bytes,
        "step_ms": plan.step_ms,
        **({"calibrated_ms": plan.calibrated_ms} if plan.calibrated_ms is not None else {}),
        "search": asdict(plan.search),
        "hardware": profile_to_dict(plan.hardware),
        "strategy": strategy_to_dict(plan.strategy),
        "ranks": [{"rank": rank, **_cost(cost)} for rank, cost in enumerate(plan.rank_costs)],
        "tables": [_table(table) for table in plan.tables],
    }


def _table(table: TablePlan) -> dict[str, Any]:
    return {
        **table_to_dict(table.spec),
        "sharding_type": table.sharding_type,
        "compute_kernel": table.compute_kernel,
        "cache_load_factor": table.cache_load_factor,
        "shards": [
            {"rank": shard.rank, "offset": list(shard.offset), "size": list(shard.size), **_cost(shard.cost)}
            for shard in table.shards
        ],
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {**vars(cost), "step_ms": cost.step_ms}


def _from_dict(values: dict[str, Any], origin: str) -> PlanFile:
    return PlanFile(
        tables=tuple(_read_table(table) for table in values["tables"]),
        hardware=profile_from_dict(values["hardware"], origin=f"{origin}: hardware"),
        strategy=strategy_from_dict(values["strategy"], origin=f"{origin}: strategy"),
        search=Search(**values["search"]),
        calibrated_ms=values.get("calibrated_ms"),
        versions=tuple(values["versions"].items()),
        created=str(values["created"]),
        reserved_fraction=float(values["reserved_fraction"]),
        **{name: _whole(values[name], name) for name in _WHOLE_NUMBERS},
    )


_WHOLE_NUMBERS = (
    "num_ranks",
    "ranks_per_host",
    "global_batch_size",
    "local_batch_size",
    "dense_bytes",
    "capacity_bytes",
    "host_capacity_bytes",
)


def _read_table(values: dict[str, Any]) -> TablePlan:
    return TablePlan(
        spec=table_from_dict(values),
        sharding_type=values["sharding_type"],
        compute_kernel=values["compute_kernel"],
        cache_load_factor=values.get("cache_load_factor"),
        shards=tuple(_read_shard(shard) for shard in values["shards"]),
    )


def _read_shard(values: dict[str, Any]) -> ShardPlan:
    """A shard; costs may be left out by a person who moves tables about (`score` fills them in)."""
    costs = {field.name: values.get(field.name, field.default) for field in fields(Cost)}
    return ShardPlan(
        rank=_whole(values["rank"], "rank"),
        offset=_pair(values["offset"], "offset"),
        size=_pair(values["size"], "size"),
        cost=Cost(**costs),
    )


def _pair(values: Any, key: str) -> tuple[int, int]:
    first, second = values
    return _whole(first, key), _whole(second, key)


def _whole(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}, expected a whole number")
    return value


def _check_format(values: Any, origin: str) -> None:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise PlanError(f'{origin} is no plan file: its "format" is not "{FORMAT}". `shardline plan --out` writes one.')
    version = values.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise PlanError(
            f"{origin} has plan format {version}, this Shardline reads up to {VERSION}. Update Shardline, or plan again with it."
        )


def _pretty(value: Any, indent: int = 0) -> str:
    """JSON that puts what fits on a line on one line, and otherwise one item per line."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    is_list_of_groups = isinstance(value, list) and value and isinstance(value[0], dict)
    if not isinstance(value, dict | list) or not value or (len(line) <= _LINE - indent and not is_list_of_groups):
        return line
    if isinstance(value, dict) and all(not isinstance(item, dict | list) for item in value.values()) and indent > 1:
        return line
    inner = " " * (indent + 1)
    if isinstance(value, list):
        items = [_pretty(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(inner + item for item in items) + "\n" + " " * indent + "]"
    items = [f"{json.dumps(key)}: {_pretty(item, indent + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(inner + item for item in items) + "\n" + " " * indent + "}"
