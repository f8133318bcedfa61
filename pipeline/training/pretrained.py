"""Tables that start from weights in a file: each rank reads the rows of its own shards."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from data.errors import DataError
from sharding_plans.applying.agreement import fail_together
from sharding_plans.applying.apply import local_pieces


@torch.no_grad()
def load_pretrained(model: nn.Module, files: Mapping[str, str]) -> None:
    """Fill the named tables, sharded by any plan or not at all, from their files; a collective.

    A file is a .npy array [rows, width], or Parquet with one number per column or one column of lists; row i is the table's
    row i. DataError, on every rank alike, where it cannot be read or has another shape than the table.
    """
    weights = {name.split(".")[-2]: weight for name, weight in model.state_dict().items() if "embedding_bags" in name}
    opened: dict[str, NDArray] = {}

    def open_all() -> str:
        opened.update({table: _opened(path, table, tuple(weights[table].size())) for table, path in files.items()})
        return ""

    fail_together(open_all)
    for table, source in opened.items():
        for rows, columns, piece in local_pieces(weights[table]):
            piece.copy_(torch.from_numpy(np.array(source[slice(*rows), slice(*columns)], dtype=np.float32)))


def _opened(path: str, table: str, shape: tuple[int, ...]) -> NDArray:
    try:
        found = np.load(path, mmap_mode="r") if Path(path).suffix == ".npy" else _from_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"The pretrained weights of table {table} cannot be read from {path}: {error}.") from error
    if found.shape != shape:
        raise DataError(
            f"{path} has shape {list(found.shape)}, but table {table} is {list(shape)}: one row for each table row (row 0 is for "
            "missing and rare ids), as wide as the table. Set model.tables.override.<table>.width, or prepare the file anew."
        )
    return found


def _from_parquet(path: str) -> NDArray:
    columns = [column.combine_chunks() for column in pq.read_table(path).columns]
    if len(columns) == 1 and not pa.types.is_floating(columns[0].type):
        return np.stack(columns[0].to_numpy(zero_copy_only=False))
    return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)
