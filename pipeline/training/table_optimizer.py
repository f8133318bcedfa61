"""The fused kernels' algorithms for tables with dense gradients: data-parallel tables, which the kernels do not reach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sharding_plans.applying.whole_tables import kept_in

_MOST_TOGETHER = 2**20
"""Values of tables that are updated in one go: of larger ones the calls are no matter, but the memory that each takes is."""


@dataclass(frozen=True)
class _Together:
    """Tables that are updated in one go: the parameter that holds them, how to look at it, and their accumulators, if any."""

    weights: nn.Parameter
    shape: tuple[int, ...]
    accumulators: Tensor | None


class TableOptimizer(torch.optim.Optimizer):
    """SGD, Adagrad or row-wise Adagrad on whole tables, step for step what FBGEMM's fused kernels do to shards.

    Adagrad (Duchi et al. 2011): m += g**2, w -= lr * g / (sqrt(m) + eps). Row-wise: m += mean(g**2) over the row, one m per
    row. State is named and shaped as the fused optimizers' (`<table>.momentum1`, float32 [rows, D] or [rows]), so that a
    checkpoint moves between data-parallel and sharded tables; it must be loaded in place, since the tables that one kernel holds
    have parts of one tensor. Tables of lower precision are updated in float32 and rounded then, as in the kernels. `tables` maps
    table names to parameters.
    """

    def __init__(
        self,
        tables: dict[str, nn.Parameter],
        algorithm: Literal["sgd", "adagrad", "row_wise_adagrad"],
        *,
        lr: float,
        eps: float,
        initial_accumulator: float = 0.0,
    ) -> None:
        super().__init__(list(tables.values()), {"lr": lr, "eps": eps})
        self._algorithm = algorithm
        self._keys = {table: f"{name}.momentum1" for name, table in tables.items()}
        self._together: list[_Together] = []
        for holder, held in kept_in(tables.values()):
            is_one_width = algorithm != "row_wise_adagrad" or len({table.shape[1] for table in held}) == 1
            is_one = is_one_width and holder.numel() <= _MOST_TOGETHER
            for weights, of_weights in [(holder, held)] if is_one else [(table, [table]) for table in held]:
                self._together.append(self._with_state(weights, of_weights, initial_accumulator))

    def _with_state(self, weights: nn.Parameter, held: list[nn.Parameter], initial: float) -> _Together:
        """The tables `held` in these weights, one after the other, with the state of each."""
        is_by_row = self._algorithm == "row_wise_adagrad"
        width = held[0].shape[1] if is_by_row else 1
        shape = (-1, width) if is_by_row else (-1,)
        if self._algorithm == "sgd":
            return _Together(weights, shape, None)
        accumulators = torch.full((weights.numel() // width,), initial, device=weights.device)
        for table in held:
            start = int(table.storage_offset() - weights.storage_offset()) // width
            state = accumulators[start : start + table.numel() // width]
            self.state[table][self._keys[table]] = state if is_by_row else state.view(table.shape)
        return _Together(weights, shape, accumulators)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every table that has a gradient; the loss, where a closure computes it."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for tables in self._together:
            gradient = tables.weights.grad
            if gradient is not None:
                self._update_tables(tables, gradient, self.param_groups[0])
        return loss

    def _update_tables(self, tables: _Together, gradient: Tensor, group: dict[str, Any]) -> None:
        weights, gradient = tables.weights.view(tables.shape), gradient.reshape(tables.shape)
        exact = weights.float()  # the weights themselves where they are float32
        self._update(exact, gradient.float(), tables.accumulators, group)
        if exact.dtype != weights.dtype:
            weights.copy_(exact)

    def _update(self, weights: Tensor, gradient: Tensor, accumulator: Tensor | None, group: dict[str, Any]) -> None:
        if accumulator is None:
            weights.add_(gradient, alpha=-group["lr"])
            return
        if self._algorithm == "adagrad":
            accumulator.addcmul_(gradient, gradient)
            denominator = accumulator.sqrt().add_(group["eps"])
        else:
            accumulator.add_(gradient.square().mean(dim=1))
            denominator = accumulator.sqrt().add_(group["eps"]).unsqueeze(1)
        weights.addcdiv_(gradient, denominator, value=-group["lr"])
