"""Plain SGD of layers' weights inside their backward pass, as FBGEMM's kernels update tables: no gradient is kept.

W -= rate * G^T X is one matrix product that adds to the weight. A gradient of its own is a tensor to write, and for the optimizer
to read again, and a step of 128 rows has little else to do than to hand such tensors on.
"""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn


class SgdInBackward:
    """Weights that the backward pass of `trained_layers` updates, at the rate that holds then; they get no gradient.

    Only where a step's forward passes use a weight once: of one that is used again the gradients go to its optimizer, as if this
    were not there, for their sum is what is to be taken off. `begin_step` starts the count; one step has one backward pass.
    """

    def __init__(self, weights: Iterable[nn.Parameter], rate: Callable[[], float]) -> None:
        self.rate = rate
        self._uses: dict[int, int] = {}
        for weight in weights:
            self._uses[id(weight)] = 0
            weight.sgd_in_backward = self  # pyright: ignore[reportAttributeAccessIssue]

    def begin_step(self) -> None:
        """Forget the uses of the step before."""
        self._uses = dict.fromkeys(self._uses, 0)

    def count_use(self, weights: Sequence[Tensor | None]) -> None:
        """A forward pass has used these."""
        for weight in weights:
            if id(weight) in self._uses:
                self._uses[id(weight)] += 1

    def updates(self, weights: Sequence[Tensor | None]) -> bool:
        """Whether these are updated here: each known, and used once in this step. (None is no weight.)"""
        return all(weight is None or self._uses.get(id(weight)) == 1 for weight in weights)


def sgd_of(weight: Tensor) -> SgdInBackward | None:
    """What updates the weight inside the backward pass, if something does."""
    return getattr(weight, "sgd_in_backward", None)
