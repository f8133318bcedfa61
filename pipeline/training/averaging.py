"""A running average of the dense weights: smoother than the last step's, and what evaluations score with.

Tables have none: an average as large as the tables would double their memory, and most of their rows move too rarely.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_COUNT = "num_updates"


class WeightAverage:
    """Exponential moving average of the weights by name: average = d * average + (1 - d) * weight after each step.

    d is the lower of `decay` and (1 + n) / (10 + n) at update n, so that the first weights, which are random, are forgotten
    soon (as TensorFlow's ExponentialMovingAverage does with `num_updates`). Equal on every rank, as the weights are.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self._weights, self._decay = dict(weights), decay
        self._count = torch.zeros((), dtype=torch.int64)
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self._count += 1
        count = int(self._count)
        share = 1.0 - min(self._decay, (1 + count) / (10 + count))
        for name, average in self._averages.items():
            average.lerp_(self._weights[name].detach(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model computes with the averages inside the block, and with its own weights, to the bit, after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the weights' names, and the number of updates."""
        return {**self._averages, _COUNT: self._count}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave; where it is empty, as from a run without averages, start from the weights now."""
        self._count.copy_(state.get(_COUNT, torch.zeros(())))
        for name, average in self._averages.items():
            average.copy_(state.get(name, self._weights[name].detach()))

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._weights.items():
            own = weight.detach().clone()
            weight.copy_(self._averages[name])
            self._averages[name].copy_(own)
