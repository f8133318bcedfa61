"""What it changes to plan with the statistics of the data: the same search once more without them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from data.errors import PlanError
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.planning.request import PlanRequest
from sharding_plans.tables.access import access_of
from sharding_plans.tables.table_specs import ModelTables, TableSpec

HOT_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What the data say of a table, and how it is laid out without and with that."""

    name: str
    num_embeddings: int
    ids_per_row: float
    hottest_share: float
    """Share of the lookups that falls on the most frequent 1 % of the rows."""
    distinct_rows: float
    """Distinct rows among the lookups of a step."""
    without: str
    with_data: str

    @property
    def is_changed(self) -> bool:
        return self.without != self.with_data


@dataclass(frozen=True, kw_only=True)
class DataEffect:
    """The plan made without the data's statistics beside the plan made with them, both estimated with them."""

    label: str
    tables: tuple[TableFacts, ...]
    without_ms: float
    with_ms: float

    @property
    def changed(self) -> tuple[TableFacts, ...]:
        return tuple(table for table in self.tables if table.is_changed)

    @property
    def in_words(self) -> str:
        """One sentence or two on what changed."""
        if not self.changed:
            return "The statistics of the data change no table's layout; they change its estimated cost."
        names = ", ".join(table.name for table in self.changed[:6]) + (" ..." if len(self.changed) > 6 else "")
        gain = self.without_ms / self.with_ms - 1 if self.with_ms else 0.0
        how = "as fast" if abs(gain) < 0.005 else f"{abs(gain):.0%} {'slower' if gain > 0 else 'faster'}"
        return (
            f"Because of the statistics of the data, {len(self.changed)} of {len(self.tables)} tables are laid out differently"
            f" ({names}). Planned as if every bag held one id and every row were as likely, and estimated with the statistics,"
            f" the plan would be {how} ({self.without_ms:.2f} ms against {self.with_ms:.2f} ms)."
        )


def without_statistics(model: ModelTables) -> ModelTables:
    """The same tables with one id a bag and every row as likely as any other."""
    return replace(model, tables=tuple(_bare(table) for table in model.tables))


def data_effect(request: PlanRequest, plan: PlanFile | None = None) -> DataEffect | None:
    """What the statistics in the request's tables change; None where there are none, or no plan without them.

    `plan` is the request's own, where it was made already.
    """
    bare = without_statistics(request.model)
    if bare == request.model:
        return None
    aware = plan or make_plan_file(request)
    other = _planned(lambda: make_plan_file(request.change(model=bare)))
    if other is None:
        return None
    specs = {table.name: table for table in request.model.tables}
    other = score(replace(other, tables=tuple(replace(table, spec=specs[table.name]) for table in other.tables)))
    return DataEffect(
        label=request.label,
        tables=tuple(_facts(table, other, aware, request.global_batch_size) for table in request.model.tables),
        without_ms=other.step_ms,
        with_ms=aware.step_ms,
    )


def _bare(table: TableSpec) -> TableSpec:
    return replace(table, pooling_factors=(1.0,) * len(table.features), top_shares=(), is_ordered=False)


def _planned(make: Callable[[], PlanFile]) -> PlanFile | None:
    try:
        return make()
    except PlanError:
        return None


def _facts(table: TableSpec, without: PlanFile, aware: PlanFile, batch: int) -> TableFacts:
    access = access_of(table.num_embeddings, table.top_shares, True)
    ids = sum(table.pooling_factors)
    return TableFacts(
        name=table.name,
        num_embeddings=table.num_embeddings,
        ids_per_row=ids,
        hottest_share=access.share(0, max(1.0, HOT_SHARE * table.num_embeddings)),
        distinct_rows=access.distinct(batch * ids),
        without=_layout(without, table.name),
        with_data=_layout(aware, table.name),
    )


def _layout(plan: PlanFile, name: str) -> str:
    table = plan.table(name)
    assert table is not None
    cached = f", {table.compute_kernel}" if table.compute_kernel not in ("fused", "dense") else ""
    return f"{table.sharding_type} on {table.where}{cached}"
