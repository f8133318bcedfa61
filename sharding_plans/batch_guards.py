"""Batches that would crash, hang or be trained wrongly, refused with the row and the reason."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.errors import ConfigError, DataError
from data.schema import SparseFeature
from sharding_plans.agreement import fail_together


def check_equal_batches(local_batch_size: int) -> None:
    """Raise ConfigError, on every rank alike, unless all ranks train on batches of one size above zero.

    Row-wise tables exchange fixed-size blocks, so that unequal batches fail or hang; an empty batch fails in TorchRec.
    """
    sizes = [int(size) for size in fail_together(lambda: str(local_batch_size))]
    if len(set(sizes)) > 1 or min(sizes) < 1:
        raise ConfigError(
            f"The ranks' local batch sizes are {sizes}; they must be equal and at least 1. Choose a global batch size that "
            "the number of ranks divides."
        )


def batch_guard(
    features: Sequence[SparseFeature], local_batch_size: int
) -> Callable[[KeyedJaggedTensor, Tensor | None], None]:
    """A check for every batch, while it is still on the CPU: `check(sparse, row_ids)`, row ids int64 [B] or None.

    It raises DataError for another number of rows than `local_batch_size`, and for an id outside its table, naming
    feature, table, id and row. FBGEMM would train row 0 in its place, after one warning.
    """
    sizes = torch.tensor([feature.num_embeddings for feature in features])
    names = [feature.name for feature in features]

    def check(sparse: KeyedJaggedTensor, row_ids: Tensor | None = None) -> None:
        if sparse.keys() != names:
            raise DataError(
                f"The batch has features {', '.join(sparse.keys())}; expected {', '.join(names)}, in this order."
            )
        if sparse.stride() != local_batch_size:
            raise DataError(
                f"A batch has {sparse.stride()} rows where every rank's batches must have {local_batch_size}: "
                "drop or pad the last."
            )
        _check_ids(sparse, sizes, row_ids)

    return check


def _check_ids(sparse: KeyedJaggedTensor, sizes: Tensor, row_ids: Tensor | None) -> None:
    values = sparse.values()
    limits = torch.repeat_interleave(sizes, torch.tensor(sparse.length_per_key()))
    outside = (values < 0) | (values >= limits)
    if not bool(outside.any()):
        return
    position = int(outside.nonzero()[0])
    bag = int(torch.searchsorted(sparse.lengths().cumsum(0), position, right=True))
    feature, row = sparse.keys()[bag // sparse.stride()], bag % sparse.stride()
    where = f"row {int(row_ids[row])}" if row_ids is not None else f"row {row} of the batch"
    size = int(limits[position])
    raise DataError(
        f"Feature {feature}, {where}: id {int(values[position])} lies outside table {feature}, which has {size} rows "
        f"(ids 0 to {size - 1}). Prepare the data again with this table size, or map ids into the table."
    )
