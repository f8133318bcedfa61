"""What differs between two plans, table by table and rank by rank, and what going over from one to the other moves. No torch."""

from dataclasses import dataclass

from sharding_plans.files.layout import PlanFile, ShardPlan, TablePlan
from sharding_plans.files.summary import GIB, Summary, summarise
from sharding_plans.tables.table_specs import TableSpec

COMPARED_SPEC = ("num_embeddings", "embedding_dim", "data_type", "pooling", "features", "optimizer")


@dataclass(frozen=True, kw_only=True)
class TableDiff:
    """One table that the plans treat differently. A side is None where that plan does not have the table."""

    name: str
    a: TablePlan | None
    b: TablePlan | None
    changed: tuple[str, ...]
    """What differs: only_in_a, only_in_b, table (rows, columns, type ...), sharding_type, compute_kernel, cache, split, ranks."""
    moved_bytes: int
    """Bytes of weights and optimizer state that some rank would have to fetch to go from A to B."""
    moved_back_bytes: int
    """The same from B to A."""

    @property
    def mirrored(self) -> "TableDiff":
        """The same difference seen from the other side."""
        names = {"only_in_a": "only_in_b", "only_in_b": "only_in_a"}
        return TableDiff(
            name=self.name,
            a=self.b,
            b=self.a,
            changed=tuple(names.get(what, what) for what in self.changed),
            moved_bytes=self.moved_back_bytes,
            moved_back_bytes=self.moved_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class RankDelta:
    """One rank's figures under B less those under A; a rank that one plan does not have counts as 0 there."""

    rank: int
    hbm_bytes: int
    ddr_bytes: int
    step_ms: float


@dataclass(frozen=True, kw_only=True)
class PlanDiff:
    """All that differs between plan A and plan B."""

    a: Summary
    b: Summary
    settings: tuple[tuple[str, str, str], ...]
    """What the plans were made for, where it differs: name, A's, B's."""
    tables: tuple[TableDiff, ...]
    ranks: tuple[RankDelta, ...]

    @property
    def is_same(self) -> bool:
        """Whether the plans lay the same tables out in the same way over as many ranks."""
        return not self.tables and not any(name == "ranks" for name, _, _ in self.settings)

    @property
    def moved_bytes(self) -> int:
        return sum(table.moved_bytes for table in self.tables)

    @property
    def moved_back_bytes(self) -> int:
        return sum(table.moved_back_bytes for table in self.tables)


def diff_plans(a: PlanFile, b: PlanFile) -> PlanDiff:
    """B compared with A; tables by name, ranks by number. Swapping A and B mirrors everything."""
    names = sorted({*a.model.names, *b.model.names})
    found = (_table_diff(name, a, b) for name in names)
    return PlanDiff(
        a=summarise(a),
        b=summarise(b),
        settings=_settings(a, b),
        tables=tuple(table for table in found if table is not None),
        ranks=tuple(_rank_delta(rank, a, b) for rank in range(max(a.num_ranks, b.num_ranks))),
    )


def _table_diff(name: str, a: PlanFile, b: PlanFile) -> TableDiff | None:
    one, other = a.table(name), b.table(name)
    changed = _changed(one, other)
    if not changed:
        return None
    return TableDiff(
        name=name,
        a=one,
        b=other,
        changed=changed,
        moved_bytes=missing_bytes(one, other),
        moved_back_bytes=missing_bytes(other, one),
    )


def _changed(a: TablePlan | None, b: TablePlan | None) -> tuple[str, ...]:
    if a is None or b is None:
        return ("only_in_b" if a is None else "only_in_a",)
    differs = {
        "table": _identity(a.spec) != _identity(b.spec),
        "sharding_type": a.sharding_type != b.sharding_type,
        "compute_kernel": a.compute_kernel != b.compute_kernel,
        "cache": a.cache_load_factor != b.cache_load_factor,
        "split": a.split != b.split,
        "ranks": _placed(a) != _placed(b),
    }
    return tuple(what for what, is_different in differs.items() if is_different)


def _identity(spec: TableSpec) -> tuple[object, ...]:
    return tuple(getattr(spec, key) for key in COMPARED_SPEC)


def _placed(table: TablePlan) -> list[tuple[int, ...]]:
    return sorted((*shard.offset, *shard.size, shard.rank) for shard in table.shards if shard.area)


def missing_bytes(before: TablePlan | None, after: TablePlan | None) -> int:
    """Bytes (weights and optimizer state) of `after` that its ranks do not already hold under `before`.

    A table that is new, or whose rows, columns or type changed, is not there to be moved: 0.
    """
    if before is None or after is None or _identity(before.spec) != _identity(after.spec):
        return 0
    held: dict[int, list[ShardPlan]] = {}
    for shard in before.shards:
        held.setdefault(shard.rank, []).append(shard)
    weights = sum(shard.area - sum(_shared(shard, own) for own in held.get(shard.rank, [])) for shard in after.shards)
    return round(weights * after.spec.bytes_with_state / (after.spec.num_embeddings * after.spec.embedding_dim))


def _shared(a: ShardPlan, b: ShardPlan) -> int:
    """Weights that two pieces of a table have in common."""
    overlaps = [
        max(0, min(a.offset[i] + a.size[i], b.offset[i] + b.size[i]) - max(a.offset[i], b.offset[i])) for i in (0, 1)
    ]
    return overlaps[0] * overlaps[1]


def _rank_delta(rank: int, a: PlanFile, b: PlanFile) -> RankDelta:
    one = a.rank_costs[rank] if rank < a.num_ranks else None
    other = b.rank_costs[rank] if rank < b.num_ranks else None
    return RankDelta(
        rank=rank,
        hbm_bytes=(other.hbm_bytes if other else 0) - (one.hbm_bytes if one else 0),
        ddr_bytes=(other.ddr_bytes if other else 0) - (one.ddr_bytes if one else 0),
        step_ms=(other.step_ms if other else 0.0) - (one.step_ms if one else 0.0),
    )


def _settings(a: PlanFile, b: PlanFile) -> tuple[tuple[str, str, str], ...]:
    pairs = {
        "strategy": (a.strategy.name, b.strategy.name),
        "hardware": (a.hardware.name, b.hardware.name),
        "ranks": (str(a.num_ranks), str(b.num_ranks)),
        "ranks per host": (str(a.ranks_per_host), str(b.ranks_per_host)),
        "global batch": (f"{a.global_batch_size:,}", f"{b.global_batch_size:,}"),
        "reserved memory": (f"{a.reserved_fraction:.0%}", f"{b.reserved_fraction:.0%}"),
    }
    return tuple((name, one, other) for name, (one, other) in pairs.items() if one != other)


def gib(num_bytes: float) -> float:
    """Bytes in GiB."""
    return num_bytes / GIB
