"""The seven ways to lay a table over ranks, by TorchRec's names. Light: no torch here."""

from typing import Literal, get_args

ShardingTypeName = Literal[
    "data_parallel",
    "table_wise",
    "column_wise",
    "row_wise",
    "table_row_wise",
    "table_column_wise",
    "grid_shard",
]

SHARDING_TYPES: tuple[ShardingTypeName, ...] = get_args(ShardingTypeName)

SPLITS_COLUMNS = frozenset({"column_wise", "table_column_wise", "grid_shard"})
SPLITS_ROWS = frozenset({"row_wise", "table_row_wise", "grid_shard"})
