"""Plans that a machine is calibrated by: kernels probed one figure at a time, then tables and layouts drawn at random."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.calibrating.probe_task import Workload
from sharding_plans.strategies.strategies import Strategy, TableRule

KINDS = ("table_wise", "row_wise", "column_wise", "table_row_wise", "table_column_wise", "grid_shard", "data_parallel")
_COLUMN_KINDS = ("column_wise", "table_column_wise", "grid_shard")
_MOST_COPIED_VALUES = 1_000_000


@dataclass(frozen=True)
class Probe:
    """A workload, and how its tables are laid out: a sharding type, a width of column shards and perhaps a rank for each."""

    workload: Workload
    rules: tuple[TableRule, ...]

    @property
    def name(self) -> str:
        return self.workload.name

    def strategy(self, table_names: tuple[str, ...]) -> Strategy:
        """The layout as a strategy that leaves the planner nothing to choose but where unpinned shards go."""
        return Strategy(name=self.name, tables=dict(zip(table_names, self.rules, strict=True)))


def probes(num_ranks: int, num_random: int, seed: int, kinds: tuple[str, ...] = KINDS) -> Iterator[Probe]:
    """All probes for so many ranks: first the kernels, then `num_random` drawn from the seed."""
    yield from _kernel_probes(num_ranks)
    draw = random.Random(seed)
    for number in range(num_random):
        yield _random_probe(number, num_ranks, draw, kinds)


def _kernel_probes(num_ranks: int) -> Iterator[Probe]:
    """A whole table on each rank, or on the first alone: rows, columns, ids a bag, skew and batch varied one by one."""
    base = {"rows": 100_000, "columns": 32, "lookups": 4, "skew": 0.0, "batch": 1024}
    variants: list[dict[str, float]] = [
        {},
        {"rows": 1000},
        {"rows": 1_000_000},
        {"columns": 8},
        {"columns": 128},
        {"lookups": 1},
        {"lookups": 24},
        {"skew": 1.2},
        {"batch": 256},
        {"batch": 4096, "lookups": 1},
        # Long bags over few rows, where a kernel's time goes into ids rather than into rows: a narrow table, a wider, a wide one.
        {"lookups": 100, "rows": 20_000, "columns": 16},
        {"lookups": 100, "rows": 20_000, "columns": 64},
        {"lookups": 100, "rows": 20_000, "columns": 128},
    ]
    for number, variant in enumerate(variants):
        v = base | variant
        name = "kernel " + (", ".join(f"{key} {value:g}" for key, value in variant.items()) or "base")
        on_all = number % 3 != 2
        ranks = range(num_ranks) if on_all else range(1)
        tables = tuple((int(v["rows"]), int(v["columns"]), int(v["lookups"])) for _ in ranks)
        workload = Workload(name=name, tables=tables, skew=v["skew"], global_batch_size=int(v["batch"]))
        yield Probe(workload, tuple(TableRule(rank=rank) for rank in ranks))
    copied = TableRule(sharding_types=("data_parallel",))
    for rows in (2000, 30_000, 80_000):
        yield Probe(Workload(name=f"copied, {rows} rows", tables=((rows, 64, 4),) * 2), (copied, copied))


def _random_probe(number: int, num_ranks: int, draw: random.Random, kinds: tuple[str, ...]) -> Probe:
    """Few or many tables, small or large; one sharding type for all of them, or two or three, or one for each."""
    num_tables = draw.choice([2, 3, 4, 5, 6, 8, 14, 24])
    tables = tuple(_random_table(draw, num_tables) for _ in range(num_tables))
    allowed = draw.sample(kinds, draw.choice([1, 1, 2, 3, len(kinds)]))
    if number < len(kinds):
        allowed = [kinds[number]]
    skew = draw.choice([0.0, 0.0, 1.05, 1.3])
    batch = draw.choice([512, 1024, 2048]) // num_ranks * num_ranks
    workload = Workload(name=f"random {number}", tables=tables, skew=skew, global_batch_size=batch)
    return Probe(workload, tuple(_rule(table, draw.choice(allowed), num_ranks, draw) for table in tables))


def _random_table(draw: random.Random, num_tables: int) -> tuple[int, int, int]:
    most = 6.0 if num_tables <= 8 else 5.2
    rows = round(10 ** draw.uniform(2.5, most))
    columns = draw.choice([8, 16, 32, 64, 128])
    lookups = draw.choice([1, 2, 3, 8, 20]) if num_tables <= 8 else draw.choice([1, 1, 1, 2, 4])
    return rows, columns, lookups


def _rule(table: tuple[int, int, int], kind: str, num_ranks: int, draw: random.Random) -> TableRule:
    rows, columns, _ = table
    if kind == "data_parallel" and rows * columns > _MOST_COPIED_VALUES:
        kind = "row_wise"
    if kind == "table_wise":
        return TableRule(rank=draw.randrange(num_ranks))
    width = draw.choice([columns // 2, max(4, columns // 4)]) if kind in _COLUMN_KINDS else None
    return TableRule(sharding_types=(kind,), min_partition=width)
