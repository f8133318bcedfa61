"""What a plan makes each rank do in a step: ids, rows and values, counted part by part. Light: no torch here.

B: rows of a rank's batch, R: ranks, L: ids of a row in a table, F: features of a table, N x D: a table, w: columns of a shard.
The parts are those that are measured; what each count costs, `calibration` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sharding_plans.tables.access import TableAccess, access_of
from sharding_plans.tables.table_specs import TableSpec

OWNED = ("table_wise", "column_wise", "table_column_wise")
Load = dict[str, float]
Loads = dict[str, list[Load]]
"""By part, and by rank: how much there is to do."""

VALUE_BYTES = 4.0
_PARTS = ("input_dist", "lookup", "output_dist", "gradient_dist", "table_backward", "table_optimizer")


@dataclass(frozen=True)
class Piece:
    """A shard of a table on a rank."""

    table: TableSpec
    sharding_type: str
    rank: int
    first_row: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Group:
    """The ranks, and the batch that they share."""

    num_ranks: int
    local_batch_size: int
    cache_bytes: float


def loads_of(pieces: Iterable[Piece], group: Group) -> Loads:
    """All that the pieces make the ranks do, the constants of every exchange and kernel included."""
    pieces = list(pieces)
    loads: Loads = {part: [{} for _ in range(group.num_ranks)] for part in _PARTS}
    held = [0.0] * group.num_ranks
    for piece in pieces:
        held[piece.rank] += VALUE_BYTES * piece.rows * piece.columns
    for piece in pieces:
        add_piece(loads, piece, group, held[piece.rank])
    _add_constants(loads, pieces, group)
    return loads


def add_piece(loads: Loads, piece: Piece, group: Group, held_bytes: float) -> None:
    """Add what one shard makes its own rank and the others do."""
    if piece.sharding_type == "data_parallel":
        _add_copy(loads, piece, group, held_bytes)
        return
    _add_kernel(loads, piece, group, held_bytes)
    if group.num_ranks > 1:
        _add_ids(loads, piece, group)
        _add_values(loads, piece, group)


def _add_kernel(loads: Loads, piece: Piece, group: Group, held_bytes: float) -> None:
    """One kernel looks up the shards of a sharding type on a rank, for the rows of all ranks."""
    ids, distinct = _lookups(piece, group)
    bags = group.local_batch_size * group.num_ranks * len(piece.table.features)
    far = max(0.0, 1 - group.cache_bytes / max(held_bytes, 1.0)) * distinct
    for part in ("lookup", "table_backward"):
        load = loads[part][piece.rank]
        _add(load, "shards", 1)
        _add(load, "ids", ids)
        _add(load, "bags", bags)
        _add(load, "values_looked_up", ids * piece.columns)
        _add(load, "values_pooled", bags * piece.columns)
        _add(load, "distinct_rows", distinct)
        _add(load, "distinct_values", distinct * piece.columns)
        _add(load, "far_rows", far)
        _add(load, "far_values", far * piece.columns)


def _add_copy(loads: Loads, piece: Piece, group: Group, held_bytes: float) -> None:
    """A data-parallel table: looked up for the rank's own rows; its dense gradient is filled, reduced and applied whole."""
    ids = group.local_batch_size * sum(piece.table.pooling_factors)
    bags = group.local_batch_size * len(piece.table.features)
    values = piece.rows * piece.columns
    # Gradient and state are gone through with the table: three of its size that the cache would have to hold.
    far = max(0.0, 1 - group.cache_bytes / max(3 * held_bytes, 1.0)) * values
    lookup, backward = loads["lookup"][piece.rank], loads["table_backward"][piece.rank]
    for load in (lookup, backward):
        _add(load, "copied_tables", 1)
        _add(load, "copied_ids", ids)
        _add(load, "copied_values_looked_up", ids * piece.columns)
        _add(load, "copied_values_pooled", bags * piece.columns)
    _add(backward, "copied_values", values)
    _add(backward, "copied_far_values", far)
    _add(loads["table_optimizer"][piece.rank], "copied_tables", 1)
    _add(loads["table_optimizer"][piece.rank], "copied_values", values)
    _add(loads["table_optimizer"][piece.rank], "copied_far_values", far)


def _add_ids(loads: Loads, piece: Piece, group: Group) -> None:
    """Ids on their way to the shard: sorted by destination on every rank, received on one."""
    batch, others = group.local_batch_size, group.num_ranks - 1
    ids = batch * sum(piece.table.pooling_factors)
    lengths = batch * len(piece.table.features)
    share = _share(piece)
    is_owned = piece.sharding_type in OWNED
    for rank, load in enumerate(loads["input_dist"]):
        _add(load, "ids_sent" if is_owned else "ids_sorted", ids * share)
        _add(load, "lengths_sent" if is_owned else "lengths_sorted", lengths)
        if rank == piece.rank:
            _add(load, "tables_received", 1)
            _add(load, "ids_received", ids * share * others)
            _add(load, "lengths_received", lengths * others)


def _add_values(loads: Loads, piece: Piece, group: Group) -> None:
    """Pooled values on their way back, and their gradients: sent where owned, reduced where rows are split."""
    values = group.local_batch_size * len(piece.table.features) * piece.columns
    word = "exchanged" if piece.sharding_type in OWNED else "reduced"
    for part in ("output_dist", "gradient_dist"):
        for rank, load in enumerate(loads[part]):
            if rank == piece.rank:
                _add(load, f"values_{word}_by_holder", values * (group.num_ranks - 1))
                _add(load, "tables", 1)
            else:
                _add(load, f"values_{word}", values)


def _add_constants(loads: Loads, pieces: list[Piece], group: Group) -> None:
    """What every part, exchange and kernel costs however little it does."""
    types = {piece.sharding_type for piece in pieces}
    for part, by_rank in loads.items():
        for rank, load in enumerate(by_rank):
            _add(load, "always", 1)
            if "data_parallel" in types and part in ("lookup", "table_backward", "table_optimizer"):
                _add(load, "copies", 1)  # one kernel and one all-reduce for all copied tables
            if part in ("lookup", "table_backward"):
                here = {piece.sharding_type for piece in pieces if piece.rank == rank}
                _add(load, "kernels", len(here - {"data_parallel"}))
            elif part != "table_optimizer" and group.num_ranks > 1:
                for kind in sorted(types - {"data_parallel"}):
                    _add(load, "exchanges" if kind in OWNED else "reductions", 1)


def _lookups(piece: Piece, group: Group) -> tuple[float, float]:
    """Ids that fall on the shard in a step of all ranks, and the distinct rows among them."""
    ids = group.local_batch_size * group.num_ranks * sum(piece.table.pooling_factors)
    access, first, stop = _access(piece.table), piece.first_row, piece.first_row + piece.rows
    return ids * _share(piece), access.distinct(ids, first, stop)


def _share(piece: Piece) -> float:
    if piece.sharding_type in OWNED:
        return 1.0
    return _access(piece.table).share(piece.first_row, piece.first_row + piece.rows)


def _access(table: TableSpec) -> TableAccess:
    return access_of(table.num_embeddings, table.top_shares, table.is_ordered)


def _add(load: Load, name: str, amount: float) -> None:
    load[name] = load.get(name, 0.0) + amount
