"""The seven models that plans are judged on, and a dozen and more plans of each: every sharding type, and mixtures."""

import random
from dataclasses import replace

from pipeline.calibrating.probe_task import Workload
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.types import SHARDING_TYPES, SPLITS_COLUMNS

# MLPerf training's DLRM-DCNv2 on Criteo 1TB: rows of its 26 tables (ids modulo 40 million) and ids a bag.
MLPERF_ROWS = (
    *(40_000_000, 39_060, 17_295, 7424, 20_265, 3, 7122, 1543, 63, 40_000_000, 3_067_956, 405_282, 10),
    *(2209, 11_938, 155, 4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36),
)
MLPERF_LOOKUPS = (3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1)

# All of MLPerf's tables with the published width and ids a bag; a thousandth of its 40 million as the most rows.
_MLPERF = Workload(
    name="MLPerf multi-hot",
    tables=tuple((min(rows, 40_000), 128, lookups) for rows, lookups in zip(MLPERF_ROWS, MLPERF_LOOKUPS, strict=True)),
    skew=1.05,
    global_batch_size=1024,
)

MODELS = (
    Workload(name="few large", tables=((120_000, 64, 3),) * 4, global_batch_size=2048),
    Workload(name="many small", tables=tuple((200 + 700 * i, 16, 1) for i in range(30)), global_batch_size=2048),
    Workload(
        name="mixed dims",
        tables=tuple((1000 * 2**i, (8, 16, 32, 64, 128)[i % 5], 1 + i % 3) for i in range(8)),
        global_batch_size=1024,
    ),
    # The eight largest tables of MLPerf's multi-hot Criteo, in their order: ids a bag as published, rows scaled down.
    Workload(
        name="multi-hot, skewed",
        tables=tuple(
            (rows, 32, lookups)
            for rows, lookups in (
                (40_000, 3),
                (40_000, 7),
                (8000, 3),
                (2000, 8),
                (40_000, 12),
                (40_000, 100),
                (40_000, 27),
                (3000, 10),
            )
        ),
        skew=1.05,
        global_batch_size=1024,
    ),
    _MLPERF,
    # MovieLens 20M: 138,493 users, 26,744 movies, 144 ratings a user; all that a user rated is one bag, as in two-tower models.
    Workload(
        name="watch history",
        tables=((138_493, 64, 1), (26_744, 64, 144), (26_744, 64, 1)),
        skew=1.05,
        global_batch_size=1024,
    ),
    # Rows of a step grow what whole tables send, and not what copied ones reduce. MLPerf trains with up to 65,536.
    replace(_MLPERF, name="MLPerf, 8,192 rows", global_batch_size=8192),
)


def plans_of(workload: Workload, num_ranks: int, names: tuple[str, ...]) -> list[Strategy]:
    """Thirteen layouts: each type alone, all on one rank, halves of two types, and two of types drawn by lot."""
    types = {kind: [kind] * len(names) for kind in SHARDING_TYPES}
    mixed = {
        "table_wise + row_wise": [("table_wise", "row_wise")[i % 2] for i in range(len(names))],
        "column_wise + row_wise": [("row_wise", "column_wise")[i % 2] for i in range(len(names))],
        "smallest copied": _smallest_copied(workload),
        "mixture 1": _drawn(len(names), 1),
        "mixture 2": _drawn(len(names), 2),
    }
    strategies = [_strategy(name, kinds, workload, names, num_ranks) for name, kinds in (types | mixed).items()]
    on_first = {table: TableRule(rank=0) for table in names}
    return [*strategies, Strategy(name="all on rank 0", tables=on_first)]


def _strategy(name: str, kinds: list[str], workload: Workload, names: tuple[str, ...], num_ranks: int) -> Strategy:
    rules = {}
    for i, (table, kind) in enumerate(zip(names, kinds, strict=True)):
        width = max(4, workload.tables[i][1] // num_ranks // 4 * 4) if kind in SPLITS_COLUMNS else None
        if kind == "table_wise":
            rules[table] = TableRule(rank=i % num_ranks)
        else:
            rules[table] = TableRule(sharding_types=(kind,), min_partition=width)
    return Strategy(name=name, tables=rules)


def _smallest_copied(workload: Workload) -> list[str]:
    values = [rows * columns for rows, columns, _ in workload.tables]
    limit = sorted(values)[len(values) // 3]
    return ["data_parallel" if size <= limit and size < 10**6 else "table_wise" for size in values]


def _drawn(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [draw.choice([kind for kind in SHARDING_TYPES if kind != "data_parallel"]) for _ in range(count)]
