"""Where the time of a training step goes, measured on the host."""

import time
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Forward = Callable[..., tuple[Tensor, tuple[Tensor, Tensor]]]
PARTS = ("data", "forward", "backward", "optimizer")


class StepClock:
    """Sums seconds by part between two readings: waiting for data, forward, backward, optimizer.

    On CUDA these are the host's times: kernels run behind them, so that only the sum over many steps is meaningful there.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._started = time.perf_counter()
        self._backward_started = 0.0
        self._steps = 0

    def timed_batches(self, batches: Iterable[T]) -> Generator[T, None, None]:
        """The same batches; waiting for each counts as `data`."""
        iterator = iter(batches)
        while True:
            started = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._seconds["data"] += time.perf_counter() - started
            yield batch

    def timed_forward(self, model: Forward, *, backward_follows: bool = False) -> Forward:
        """The model's forward, timed; the backward pass starts when the gradient reaches its loss.

        With `backward_follows` it starts where the forward pass ends, and needs no hook.
        """

        def forward(batch: object) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            started = time.perf_counter()
            loss, outputs = model(batch)
            self._backward_started = time.perf_counter()
            self._seconds["forward"] += self._backward_started - started
            if loss.requires_grad and not backward_follows:
                loss.register_hook(self._note_backward)
            return loss, outputs

        return forward

    def timed_optimizer(self, optimizer: torch.optim.Optimizer) -> "TimedOptimizer":
        """The optimizer, its step timed; the backward pass ends where its step begins."""
        return TimedOptimizer(optimizer, self)

    def end_step(self) -> None:
        self._steps += 1

    def read(self) -> tuple[dict[str, float], float]:
        """Milliseconds per step by part (`data_ms` ...) and seconds per step overall, since the last reading."""
        steps = max(self._steps, 1)
        by_part = {f"{part}_ms": 1000 * seconds / steps for part, seconds in self._seconds.items()}
        per_step = (time.perf_counter() - self._started) / steps
        self.restart()
        return by_part, per_step

    def restart(self) -> None:
        """Forget what was measured, as after an evaluation."""
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._started = time.perf_counter()
        self._steps = 0

    def _note_backward(self, gradient: Tensor) -> Tensor:
        self._backward_started = time.perf_counter()
        return gradient

    def _note_step(self, started: float, ended: float) -> None:
        self._seconds["backward"] += started - self._backward_started
        self._seconds["optimizer"] += ended - started


class TimedOptimizer:
    """What a train pipeline asks of an optimizer, with its step timed."""

    def __init__(self, optimizer: torch.optim.Optimizer, clock: StepClock) -> None:
        self._optimizer = optimizer
        self._clock = clock

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def step(self) -> None:
        started = time.perf_counter()
        self._optimizer.step()
        self._clock._note_step(started, time.perf_counter())
