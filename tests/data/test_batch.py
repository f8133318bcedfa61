import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.batch import Batch


def two_rows() -> Batch:
    sparse = KeyedJaggedTensor(
        keys=["a", "b"],
        values=torch.tensor([1, 2, 3, 4], dtype=torch.int32),
        lengths=torch.ones(4, dtype=torch.int32),
    )
    return Batch(dense=torch.zeros(2, 3), sparse=sparse, labels=torch.tensor([0.0, 1.0]), row_ids=torch.tensor([7, 9]))


def test_batch_counts_its_rows() -> None:
    assert two_rows().num_rows == 2


def test_batch_that_is_on_the_device_already_is_not_copied() -> None:
    batch = two_rows()

    assert batch.to(torch.device("cpu")) is batch


def test_batch_moves_every_tensor_to_the_device() -> None:
    batch = two_rows()
    batch.weights = torch.ones(2)

    moved = batch.to(torch.device("meta"))

    tensors = (moved.dense, moved.sparse.values(), moved.sparse.lengths(), moved.labels, moved.row_ids, moved.weights)
    assert all(tensor is not None and tensor.is_meta for tensor in tensors)
