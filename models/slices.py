"""An arch computed slice by slice of the batch, so that the activations of one slice at a time are all that memory holds.

B: batch rows.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_SCORED_ROWS = 1024
"""Rows that are scored at a time on the CPU: 27 vectors have 3 MB of products then; 24 MB for 8192 stay in no cache."""


class InSlices(nn.Module):
    """What `arch` gives for the whole batch, float32 [B], from dense features [B, N] and pooled embeddings, each [B, width].

    In training each slice's activations are dropped after its forward pass and computed again in the backward pass. There is
    one lookup, one backward pass and one update of the whole batch, so that the gradients are those of the whole batch, in
    the dense part and in tables alike. Scoring on the CPU takes as many slices as keep each small. `arch` belongs to the
    caller, under the caller's name for it.
    """

    def __init__(self, arch: nn.Module, num_slices: int) -> None:
        super().__init__()
        self._arch, self._num_slices = [arch], num_slices  # in a list: not a submodule of this one

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        (arch,) = self._arch
        if self.training and self._num_slices == 1:
            return arch(dense, pooled)
        num_slices = self._num_slices if self.training else self._scored_slices(dense)
        if num_slices <= 1:
            return arch(dense, pooled)
        one_slice = partial(checkpoint, arch, use_reentrant=False) if self.training else arch
        size = -(-len(dense) // num_slices)
        parts = [
            one_slice(dense[start : start + size], [one[start : start + size] for one in pooled])
            for start in range(0, len(dense), size)
        ]
        return torch.cat(parts)  # pyright: ignore[reportArgumentType]

    def _scored_slices(self, dense: Tensor) -> int:
        return -(-len(dense) // _SCORED_ROWS) if dense.device.type == "cpu" else 1
