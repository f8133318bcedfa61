"""Is a plan file for this model and these ranks? Says what differs, table by table."""

from torch import nn

from data.errors import PlanError
from sharding_plans.files.layout import PlanFile
from sharding_plans.names import nearest_first
from sharding_plans.tables.from_model import describe_tables
from sharding_plans.tables.table_specs import TableSpec

_LAID_BY_HOST = ("table_row_wise", "table_column_wise", "grid_shard")
_COMPARED = ("num_embeddings", "embedding_dim", "data_type", "pooling", "is_weighted", "features")
_WORDS = {"num_embeddings": "rows", "embedding_dim": "columns", "data_type": "type", "is_weighted": "weighted"}


def check_fits(plan: PlanFile, module: nn.Module, *, num_ranks: int, ranks_per_host: int | None = None) -> None:
    """Raise PlanError, naming every difference, unless the plan is for the module's tables and the live ranks.

    `ranks_per_host` (all ranks on one host unless given) only matters to tables that are laid out by host. A plan made for
    another optimizer still fits; its memory figures do not.
    """
    problems = [*_other_ranks(plan, num_ranks, ranks_per_host or num_ranks), *_other_tables(plan, module)]
    if problems:
        raise PlanError(
            f"The plan ({plan.strategy.name}, {plan.num_ranks} x {plan.hardware.name}) is not for this model on {num_ranks} "
            f"rank{'s' if num_ranks > 1 else ''}:\n  "
            + "\n  ".join(problems)
            + "\nPlan again for this model and these ranks."
        )


def _other_ranks(plan: PlanFile, num_ranks: int, ranks_per_host: int) -> list[str]:
    if plan.num_ranks != num_ranks:
        return [f"it lays tables over {plan.num_ranks} ranks"]
    hosted = [table.name for table in plan.tables if table.sharding_type in _LAID_BY_HOST]
    if hosted and plan.ranks_per_host != ranks_per_host:
        first = f"table {hosted[0]}" + (f" and {len(hosted) - 1} more are" if len(hosted) > 1 else " is")
        return [
            f"{first} laid out over hosts of {plan.ranks_per_host} ranks, but there are {ranks_per_host} ranks a host"
        ]
    return []


def _other_tables(plan: PlanFile, module: nn.Module) -> list[str]:
    live = {table.name: table for table in describe_tables(module).tables}
    planned = {table.name: table.spec for table in plan.tables}
    problems = [f"table {name}: the plan does not have it" for name in live if name not in planned]
    for name, spec in planned.items():
        if name not in live:
            problems.append(f"table {name}: the model does not have it (its nearest is {nearest_first(name, live)[0]})")
        elif differences := _differences(spec, live[name]):
            problems.append(f"table {name}: {differences}")
    return problems


def _differences(planned: TableSpec, live: TableSpec) -> str:
    found = []
    for key in _COMPARED:
        was, now = getattr(planned, key), getattr(live, key)
        if was != now:
            found.append(f"{_WORDS.get(key, key)} {_text(was)} in the plan, {_text(now)} in the model")
    return "; ".join(found)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " + ".join(str(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
