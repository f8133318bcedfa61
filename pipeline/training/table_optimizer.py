"""The fused kernels' algorithms for tables with dense gradients: data-parallel tables, which the kernels do not reach."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sharding_plans.applying.whole_tables import kept_in


class TableOptimizer(torch.optim.Optimizer):
    """SGD, Adagrad or row-wise Adagrad on whole tables, step for step what FBGEMM's fused kernels do to shards.

    Adagrad (Duchi et al. 2011): m += g**2, w -= lr * g / (sqrt(m) + eps). Row-wise: m += mean(g**2) over the row, one m per
    row. State is named and shaped as the fused optimizers' (`<table>.momentum1`, float32 [rows, D] or [rows]), so that a
    checkpoint moves between data-parallel and sharded tables. Tables of lower precision are updated in float32 and rounded
    then, as in the kernels. `tables` maps table names to parameters.
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
        self._by_sgd = kept_in(tables.values()) if algorithm == "sgd" else None
        self._keys = {table: f"{name}.momentum1" for name, table in tables.items()}
        if algorithm == "sgd":
            return
        for table in tables.values():
            shape = table.shape if algorithm == "adagrad" else table.shape[:1]
            self.state[table][self._keys[table]] = torch.full(shape, initial_accumulator, device=table.device)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every table that has a gradient; the loss, where a closure computes it."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for table in self._by_sgd or group["params"]:
                gradient = table.grad
                if gradient is not None:
                    self._update_table(table, gradient, group)
        return loss

    def _update_table(self, table: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        if self._algorithm == "sgd" and table.dtype == gradient.dtype == torch.float32:
            table.add_(gradient, alpha=-group["lr"])  # as below, with less around it
            return
        weights = table.float()  # the table itself where it is float32
        self._update(weights, gradient.float(), self.state.get(table, {}).get(self._keys[table]), group)
        if weights.dtype != table.dtype:
            table.copy_(weights)

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
