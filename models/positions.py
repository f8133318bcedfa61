"""Bags parted by the position of their ids, so that each position can be weighed behind the lookup.

B: batch rows, F: sparse features, n: ids of a batch.
"""

import torch
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor


class SplitPositions(nn.Module):
    """The KJT with one key per position in place of each feature that is weighed by position; weights go with their ids.

    `keys` maps each feature, in the KJT's order, to its keys: one, or K for K positions, the last of which holds all ids from
    there on. With three:

        bags of a feature          position 1     2        3
        row 0   [7, 5]             [7]            [5]      []
        row 1   [4, 9, 8, 6]       [4]            [9]      [8, 6]

    One stable sort for all features: no length is read back from the device.
    """

    first: Tensor
    last: Tensor

    def __init__(self, keys: dict[str, tuple[str, ...]], *, is_weighted: bool = False) -> None:
        super().__init__()
        self._is_weighted = is_weighted  # asking the KJT itself would stop the tracer of TorchScript
        self._keys = [key for each in keys.values() for key in each]
        self._num_positions = [len(each) for each in keys.values()]
        sizes = torch.tensor(self._num_positions)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("last", sizes - 1, persistent=False)

    def forward(self, sparse: KeyedJaggedTensor) -> KeyedJaggedTensor:
        values, lengths = sparse.values(), sparse.lengths()
        of_feature = lengths.view(len(self._num_positions), -1)
        order = torch.argsort(self._key_of_ids(lengths, of_feature, values.shape[0]), stable=True)
        parted = [part for i, size in enumerate(self._num_positions) for part in _lengths(of_feature[i], size)]
        return KeyedJaggedTensor(
            keys=self._keys,
            values=values.index_select(0, order),
            weights=sparse.weights().index_select(0, order) if self._is_weighted else None,
            lengths=torch.cat(parted),
        )

    def _key_of_ids(self, lengths: Tensor, of_feature: Tensor, num_ids: int) -> Tensor:
        """For each id the number of its new key, int64 [n]."""
        repeats = lengths.long()
        bags = torch.repeat_interleave(repeats, output_size=num_ids)
        starts = repeats.cumsum(0) - repeats
        position = torch.arange(num_ids, device=lengths.device) - starts.index_select(0, bags)
        feature = torch.div(bags, of_feature.shape[1], rounding_mode="floor")
        return self.first.index_select(0, feature) + torch.minimum(position, self.last.index_select(0, feature))


def _lengths(lengths: Tensor, num_positions: int) -> list[Tensor]:
    """Ids of each bag, int [B], at each position: one or none, and in the last what is left."""
    before = [(lengths - k).clamp(min=0, max=1) for k in range(num_positions - 1)]
    return [*before, (lengths - (num_positions - 1)).clamp(min=0)]


class PositionWeights(nn.Module):
    """sum_k w_k e_k, float32 [B, D], of the pooled positions e_k, each float32 [B, D]; all w start at 1, which is the sum."""

    def __init__(self, num_positions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_positions))

    def forward(self, positions: list[Tensor]) -> Tensor:
        return torch.einsum("k,kbd->bd", self.weight, torch.stack(positions))
