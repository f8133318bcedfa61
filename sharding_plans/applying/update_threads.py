"""How many threads update tables on the CPU: one, unless the batch is large.

FBGEMM's backward pass sorts the ids of one table after the other, and a team of threads meets several times for each of them: at
a thousand ids a table two threads take up to twice as long as one.
"""

from functools import partial
from typing import Any

import torch
from fbgemm_gpu.split_table_batched_embeddings_ops_training import SplitTableBatchedEmbeddingBagsCodegen
from torch import Tensor, nn

from sharding_plans.applying.held_bytes import table_kernels

_FEWEST_IDS = 16_384
"""Ids of a table from which on several threads update it. (Two threads were first ahead, by 3 %, at 32,768.)"""


def update_small_batches_on_one_thread(sharded: nn.Module) -> None:
    """From now on the fused tables of this model are updated by one thread where a batch has few ids for each."""
    for kernel in table_kernels(sharded):
        if isinstance(kernel, SplitTableBatchedEmbeddingBagsCodegen) and kernel.use_cpu:
            kernel.register_forward_hook(_watch_backward, with_kwargs=True)


def _watch_backward(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], pooled: Tensor) -> None:
    indices = kwargs["indices"] if "indices" in kwargs else args[0]
    num_threads = torch.get_num_threads()
    if pooled.grad_fn is None or num_threads == 1 or indices.numel() >= _FEWEST_IDS * len(module.embedding_specs):
        return
    pooled.grad_fn.register_prehook(partial(_set_threads, 1))
    pooled.grad_fn.register_hook(partial(_set_threads, num_threads))


def _set_threads(num_threads: int, *gradients: Any) -> None:
    torch.set_num_threads(num_threads)
