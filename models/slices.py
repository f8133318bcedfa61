"""An arch computed slice by slice of the batch, so that the activations of one slice at a time are all that memory holds.

B: batch rows.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class InSlices(nn.Module):
    """What `arch` gives for the whole batch, float32 [B], from dense features [B, N] and pooled embeddings, each [B, width].

    In training each slice's activations are dropped after its forward pass and computed again in the backward pass. There is
    one lookup, one backward pass and one update of the whole batch, so that the gradients are those of the whole batch, in
    the dense part and in tables alike. `arch` belongs to the caller, under the caller's name for it.
    """

    def __init__(self, arch: nn.Module, num_slices: int) -> None:
        super().__init__()
        self._arch, self._num_slices = [arch], num_slices  # in a list: not a submodule of this one

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        (arch,) = self._arch
        if not self.training or self._num_slices == 1:
            return arch(dense, pooled)
        size = -(-len(dense) // self._num_slices)
        parts = [
            checkpoint(
                arch, dense[start : start + size], [one[start : start + size] for one in pooled], use_reentrant=False
            )
            for start in range(0, len(dense), size)
        ]
        return torch.cat(parts)  # pyright: ignore[reportArgumentType]
