"""Training steps one after the other, for a rank that has nothing to wait for but its own work."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor

from data.batch import Batch


class StepOptimizer(Protocol):
    """What a step asks of an optimizer."""

    def zero_grad(self) -> None: ...

    def step(self) -> None: ...


class StepByStep:
    """Forward, backward and update of one batch after the other; the interface of TorchRec's train pipelines.

    Those overlap copies to the device and the exchange of ids with the steps. On the CPU a rank that is alone has neither,
    and their bookkeeping would be much of a small step.
    """

    def __init__(self, optimizer: StepOptimizer, forward: Callable[[Batch], tuple[Tensor, Any]]) -> None:
        self._optimizer, self._forward = optimizer, forward

    def progress(self, batches: Iterator[Batch]) -> Any:
        """Train on the next batch; what the model gave besides its loss. StopIteration where there is none."""
        batch = next(batches)
        self._optimizer.zero_grad()
        loss, outputs = self._forward(batch)
        loss.backward()
        self._optimizer.step()
        return outputs

    def detach(self) -> None:
        """Nothing: the model was never changed."""
