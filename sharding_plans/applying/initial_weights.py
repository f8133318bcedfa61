"""Initial embedding weights that do not depend on the plan: any shard can be made without its table.

A weight is a function of (seed, table name, row, column) alone, drawn from counter-based Philox streams (Salmon et al.,
SC 2011), one stream for each block of rows. So every plan and every number of ranks starts from the same model.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

BLOCK_ROWS = 1024


def uniform_shard(
    seed: int,
    table: str,
    *,
    rows: tuple[int, int],
    columns: tuple[int, int],
    dim: int,
    low: float,
    high: float,
    out: Tensor,
) -> None:
    """Fill `out`, shape [rows, columns] of any floating dtype and device, with a table's weights, uniform in [low, high).

    `rows` and `columns` are the shard's half-open ranges; `dim` is the width of the whole table. Memory beyond `out` is one
    block of rows.
    """
    first, last = rows
    for block in range(first // BLOCK_ROWS, -(-last // BLOCK_ROWS)):
        start = block * BLOCK_ROWS
        begin, end = max(first, start), min(last, start + BLOCK_ROWS)
        values = _uniform_block(seed, table, block, dim)[begin - start : end - start, slice(*columns)]
        out[begin - first : end - first].copy_(torch.from_numpy(values * np.float32(high - low) + np.float32(low)))


def uniform_table(seed: int, table: str, num_embeddings: int, dim: int, *, low: float, high: float) -> Tensor:
    """The whole table, float32 [num_embeddings, dim], as an unsharded model starts from it."""
    out = torch.empty(num_embeddings, dim)
    uniform_shard(seed, table, rows=(0, num_embeddings), columns=(0, dim), dim=dim, low=low, high=high, out=out)
    return out


def _uniform_block(seed: int, table: str, block: int, dim: int) -> np.ndarray:
    """Rows [block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS) as float32 [BLOCK_ROWS, dim] in [0, 1), 24 random bits each."""
    key = np.frombuffer(hashlib.sha256(f"{seed}/{table}".encode()).digest()[:16], dtype="<u8")
    stream = np.random.Philox(key=key, counter=np.array([0, block, 0, 0], dtype=np.uint64))
    words = stream.random_raw((BLOCK_ROWS * dim + 1) // 2).astype("<u8", copy=False).view("<u4")
    return ((words[: BLOCK_ROWS * dim] >> 8) * np.float32(2.0**-24)).reshape(BLOCK_ROWS, dim)
