"""How the ranks share a global batch and the rows of an evaluation.

Legend: N rows, R ranks, B rows of the global batch.
"""

from itertools import pairwise

from data.errors import ConfigError
from data.reading.order import num_lanes, usable_ranks

# A matrix product rounds a row by its place among the 4 (or 16) rows that a kernel takes at a time. Where every rank's rows and
# batches begin at multiples of this, a row is rounded alike, and scored to the same bits, at any number of ranks.
ALIGNED_ROWS = 64


def train_batch_size(global_batch_size: int, rank: int, num_ranks: int) -> int:
    """B / R where the order of rows (data/reading/order.py) allows so many ranks; else ConfigError names those it allows."""
    _check_rank(global_batch_size, rank, num_ranks)
    usable = usable_ranks(global_batch_size)
    if num_ranks not in usable:
        raise ConfigError(
            f"A global batch of {global_batch_size} rows cannot be shared by {num_ranks} ranks: its rows come from"
            f" {num_lanes(global_batch_size)} lanes, and every rank needs the same number of them."
            f" Use {', '.join(map(str, usable))} ranks, or another global batch size."
        )
    return global_batch_size // num_ranks


def even_batch_size(global_batch_size: int, rank: int, num_ranks: int) -> int:
    """B / R where that is a whole number; else ConfigError. Enough where rows have no lanes: evaluation, random rows."""
    _check_rank(global_batch_size, rank, num_ranks)
    if global_batch_size % num_ranks:
        raise ConfigError(
            f"A global batch of {global_batch_size} rows cannot be shared evenly by {num_ranks} ranks."
            f" Use a multiple of {num_ranks}."
        )
    return global_batch_size // num_ranks


def check_one_step(num_rows: int, global_batch_size: int, where: str) -> None:
    """Raise ConfigError where there is less than one global batch to train on."""
    if num_rows < global_batch_size:
        raise ConfigError(
            f"{where} holds {num_rows} rows, a global batch {global_batch_size}: not one training step can be made."
            " Lower the global batch size, or bring more rows."
        )


def eval_share(num_rows: int, batch_size: int, rank: int, num_ranks: int) -> tuple[range, int]:
    """This rank's stretch of the rows, about N / R of them, and the steps that every rank takes: those of the most, at least one.

    Stretches begin at multiples of ALIGNED_ROWS.
    """
    starts = [_eval_start(num_rows, other, num_ranks) for other in range(num_ranks + 1)]
    most = max(end - start for start, end in pairwise(starts))
    return range(starts[rank], starts[rank + 1]), max(1, -(-most // batch_size))


def _eval_start(num_rows: int, rank: int, num_ranks: int) -> int:
    units = -(-rank * num_rows // (num_ranks * ALIGNED_ROWS))
    return min(units * ALIGNED_ROWS, num_rows)


def _check_rank(global_batch_size: int, rank: int, num_ranks: int) -> None:
    if global_batch_size < 1:
        raise ConfigError(f"The global batch size is {global_batch_size}; expected at least 1 row.")
    if not 0 <= rank < num_ranks:
        raise ConfigError(f"Rank {rank} does not exist among {num_ranks} ranks; expected 0 to {num_ranks - 1}.")
