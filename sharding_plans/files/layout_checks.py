"""Is a plan whole in itself: every row and column of each table once, on ranks that exist? Light: no torch here."""

from data.errors import PlanError
from sharding_plans.files.layout import PlanFile, ShardPlan, TablePlan
from sharding_plans.names import unknown_name
from sharding_plans.strategies.strategies import KERNELS
from sharding_plans.types import SHARDING_TYPES


def check_layout(plan: PlanFile, origin: str) -> None:
    """Raise PlanError, naming `origin` and every table that is wrong, unless the plan is whole."""
    problems = _wrong_numbers(plan)
    for table in plan.tables:
        problem = _wrong_names(table) or _wrong_shards(table, plan.num_ranks)
        problems += [f"table {table.name}: {problem}"] if problem else []
    twins = sorted({name for name in plan.model.names if plan.model.names.count(name) > 1})
    problems += [f"table {name} is there twice" for name in twins]
    if problems:
        raise PlanError(f"{origin} is no usable plan:\n  " + "\n  ".join(problems))


def _wrong_numbers(plan: PlanFile) -> list[str]:
    wrong = []
    if plan.num_ranks < 1 or plan.ranks_per_host < 1 or plan.num_ranks % plan.ranks_per_host:
        wrong.append(f"{plan.num_ranks} ranks do not fill hosts of {plan.ranks_per_host}")
    for key in ("global_batch_size", "local_batch_size"):
        if getattr(plan, key) < 1:
            wrong.append(f"{key} is {getattr(plan, key)}, expected at least 1")
    if not plan.tables:
        wrong.append("it has no tables")
    return wrong


def _wrong_names(table: TablePlan) -> str | None:
    if table.sharding_type not in SHARDING_TYPES:
        return unknown_name("sharding type", str(table.sharding_type), SHARDING_TYPES)
    if table.compute_kernel not in KERNELS:
        return unknown_name("compute kernel", str(table.compute_kernel), KERNELS)
    if table.spec.num_embeddings < 1 or table.spec.embedding_dim < 1:
        return f"it has {table.spec.num_embeddings} rows of {table.spec.embedding_dim} columns"
    return None


def _wrong_shards(table: TablePlan, num_ranks: int) -> str | None:
    strangers = sorted({shard.rank for shard in table.shards if not 0 <= shard.rank < num_ranks})
    if strangers:
        return f"shards on ranks {strangers}, but the ranks are 0 to {num_ranks - 1}"
    rows, columns = table.spec.num_embeddings, table.spec.embedding_dim
    if table.sharding_type == "data_parallel":
        return _wrong_copies(table, num_ranks)
    solid = [shard for shard in table.shards if shard.area]
    outside = [shard for shard in table.shards if not _inside(shard, rows, columns)]
    if outside:
        return f"a shard at {outside[0].offset} of size {outside[0].size} leaves its {rows} rows x {columns} columns"
    clash = _overlap(solid)
    if clash:
        return f"the shards at {clash[0].offset} (rank {clash[0].rank}) and {clash[1].offset} (rank {clash[1].rank}) overlap"
    missing = rows * columns - sum(shard.area for shard in solid)
    return f"{missing} of its {rows * columns} weights lie on no rank" if missing else None


def _wrong_copies(table: TablePlan, num_ranks: int) -> str | None:
    if sorted(shard.rank for shard in table.shards) != list(range(num_ranks)):
        return f"data_parallel needs one copy on each of the ranks 0 to {num_ranks - 1}"
    whole = (table.spec.num_embeddings, table.spec.embedding_dim)
    if any(shard.offset != (0, 0) or shard.size != whole for shard in table.shards):
        return f"data_parallel copies are whole tables of {whole[0]} rows x {whole[1]} columns"
    return None


def _inside(shard: ShardPlan, rows: int, columns: int) -> bool:
    (row, column), (height, width) = shard.offset, shard.size
    return min(row, column, height, width) >= 0 and row + height <= rows and column + width <= columns


def _overlap(shards: list[ShardPlan]) -> tuple[ShardPlan, ShardPlan] | None:
    ordered = sorted(shards, key=lambda shard: shard.offset)
    for i, one in enumerate(ordered):
        for other in ordered[i + 1 :]:
            if other.offset[0] >= one.offset[0] + one.size[0]:
                break
            if other.offset[1] < one.offset[1] + one.size[1] and one.offset[1] < other.offset[1] + other.size[1]:
                return one, other
    return None
