"""Does a plan fit the tables and the ranks?

TorchRec reads parts of a plan and derives the rest from the sharding type, so that a misfit can pass silently.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torchrec.distributed.types import ShardingPlan
from torchrec.modules.embedding_configs import BaseEmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from data.errors import PlanError
from sharding_plans.types import SHARDING_TYPES

Piece = tuple[int, int, int, int, int]
"""One shard: first row, first column, rows, columns, rank."""


def check_fits(module: nn.Module, plan: ShardingPlan, *, num_ranks: int, ranks_per_host: int) -> None:
    """Raise PlanError, naming every table that does not fit, unless the plan lays the module's tables over these ranks."""
    problems = []
    for path, collection in table_collections(module):
        planned: dict[str, Any] = dict(plan.plan.get(path) or {})  # pyright: ignore
        configs = {config.name: config for config in collection.embedding_bag_configs()}
        problems += [f"table {name}: the plan does not have it" for name in configs if name not in planned]
        problems += [f"table {name}: the model does not have it" for name in planned if name not in configs]
        for name in configs.keys() & planned.keys():
            problem = _misfit(configs[name], planned[name], num_ranks, ranks_per_host)
            problems += [f"table {name}: {problem}"] if problem else []
    if problems:
        raise PlanError(
            f"The sharding plan does not fit this model on {num_ranks} ranks, {ranks_per_host} a host:\n  "
            + "\n  ".join(sorted(problems))
            + "\nPlan again for this model and these ranks."
        )


def table_collections(module: nn.Module) -> Iterator[tuple[str, EmbeddingBagCollection]]:
    """Each EmbeddingBagCollection of the module and its path."""
    for path, child in module.named_modules():
        if isinstance(child, EmbeddingBagCollection):
            yield path, child


def _misfit(config: BaseEmbeddingConfig, how: Any, num_ranks: int, ranks_per_host: int) -> str | None:
    """What is wrong with one table's part of the plan, or None."""
    if how.sharding_type not in SHARDING_TYPES:
        return f"unknown sharding type {how.sharding_type}"
    if how.sharding_type == "data_parallel":
        everyone = list(range(num_ranks))
        return None if sorted(how.ranks) == everyone else f"data_parallel on ranks {how.ranks}, expected {everyone}"
    pieces = [_piece(shard) for shard in how.sharding_spec.shards]
    strangers = sorted({rank for *_, rank in pieces if not 0 <= rank < num_ranks})
    if strangers:
        return f"shards on ranks {strangers}, but the ranks are 0 to {num_ranks - 1}"
    rows, columns = config.num_embeddings, config.embedding_dim
    if not _cover_once(pieces, rows, columns):
        return f"the shards do not cover its {rows} rows x {columns} columns exactly once"
    return _misplaced(how.sharding_type, pieces, rows, columns, num_ranks, ranks_per_host)


def _piece(shard: Any) -> Piece:
    return (*shard.shard_offsets, *shard.shard_sizes, shard.placement.rank())


def _cover_once(pieces: list[Piece], rows: int, columns: int) -> bool:
    solid = [piece for piece in pieces if piece[2] and piece[3]]
    inside = all(r >= 0 and c >= 0 and r + h <= rows and c + w <= columns for r, c, h, w, _ in solid)
    area = sum(height * width for _, _, height, width, _ in solid)
    return inside and area == rows * columns and not _any_overlap(sorted(solid))


def _any_overlap(pieces: list[Piece]) -> bool:
    for i, (row, column, height, width, _) in enumerate(pieces):
        for other_row, other_column, _, other_width, _ in pieces[i + 1 :]:
            if other_row >= row + height:
                break
            if other_column < column + width and column < other_column + other_width:
                return True
    return False


def _misplaced(
    kind: str, pieces: list[Piece], rows: int, columns: int, num_ranks: int, ranks_per_host: int
) -> str | None:
    """Where the shards differ from the layout that TorchRec assumes for the sharding type without looking."""
    if kind == "table_wise":
        return None if len(pieces) == 1 else f"table_wise in {len(pieces)} pieces"
    if kind in ("column_wise", "table_column_wise"):
        split = any(height != rows for _, _, height, _, _ in pieces)
        hosts = {rank // ranks_per_host for *_, rank in pieces}
        if kind == "table_column_wise" and len(hosts) > 1:
            return f"table_column_wise over hosts {sorted(hosts)}; it belongs on one host ({ranks_per_host} ranks)"
        return f"{kind} with split rows" if split else None
    if kind == "row_wise":
        return _uneven_rows(kind, pieces, rows, list(range(num_ranks)), columns)
    return _misplaced_on_hosts(kind, pieces, rows, columns, ranks_per_host)


def _misplaced_on_hosts(kind: str, pieces: list[Piece], rows: int, columns: int, ranks_per_host: int) -> str | None:
    """Table-row-wise: one block of rows to each rank of one host. Grid: the same for each group of columns."""
    if len(pieces) % ranks_per_host:
        return f"{kind} in {len(pieces)} pieces, which do not fill hosts of {ranks_per_host} ranks"
    if kind == "table_row_wise" and len(pieces) != ranks_per_host:
        return f"table_row_wise in {len(pieces)} pieces on a host of {ranks_per_host} ranks"
    for start in range(0, len(pieces), ranks_per_host):
        group = pieces[start : start + ranks_per_host]
        first = group[0][4] // ranks_per_host * ranks_per_host
        width = columns if kind == "table_row_wise" else group[0][3]
        problem = _uneven_rows(kind, group, rows, list(range(first, first + ranks_per_host)), width)
        if problem:
            return problem
    return None


def _uneven_rows(kind: str, pieces: list[Piece], rows: int, ranks: list[int], width: int) -> str | None:
    """Ids are routed by `id // ceil(rows / ranks)`, whatever the plan says: rows must be cut just so, in rank order."""
    block = -(-rows // len(ranks))
    expected = [max(0, min(block, rows - i * block)) for i in range(len(ranks))]
    found = [height for _, _, height, _, _ in pieces]
    if [rank for *_, rank in pieces] != ranks:
        return f"{kind} on ranks {[rank for *_, rank in pieces]}, expected {ranks} in this order"
    if found != expected or any(piece[3] != width for piece in pieces):
        return f"{kind} in blocks of {found} rows, expected {expected}"
    return None
