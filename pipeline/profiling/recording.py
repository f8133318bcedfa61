"""Recording some warm steps of a training run with torch's profiler, its parts marked in the trace."""

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from models.losses import Loss
from models.ranker import Ranker
from pipeline.profiling.parts import MARK, OPTIMIZER, StepParts, parts_of_steps

logger = logging.getLogger(__name__)

WARM_STEPS, RECORDED_STEPS = 20, 5
TABLES, LOSS, BETWEEN = "tables", "loss", "between the parts"


class StepProfile:
    """Records up to RECORDED_STEPS steps after WARM_STEPS; a shorter run is warm for its first half, and recorded after that.

    The forward pass of each part of the ranker is a range in the trace; `parts_of_steps` finds the backward pass that belongs
    to it. The optimizer's step is one too. On CUDA the kernels are in the trace too.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        *,
        first_step: int,
        last_step: int,
    ) -> None:
        num_steps = last_step - first_step
        self._first = first_step + min(WARM_STEPS, num_steps // 2)
        self._last = min(self._first + RECORDED_STEPS, last_step) - 1
        self._model, self._optimizer, self._device = model, optimizer, device
        self._open = contextlib.ExitStack()
        self._profiler: profile | None = None
        self._is_done = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around each step of the run, counted from 0."""
        if number == self._first:
            self._start()
        if self._profiler is None or self._is_done:
            yield
            return
        with record_function(f"{MARK}step"):
            yield
        if number == self._last:
            self._is_done = True
            self._open.close()

    def write(self, directory: Path, rank: int) -> StepParts | None:
        """Put this rank's trace into the directory (Perfetto and chrome://tracing open it); None where no step was recorded."""
        if self._profiler is None or not self._is_done:
            self._open.close()
            logger.warning("training ended before step %d, the last to be profiled: there is no profile", self._last)
            return None
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"rank{rank}.trace.json"
        aside = directory / f".{path.name}"
        self._profiler.export_chrome_trace(str(aside))
        aside.replace(path)
        return parts_of_steps(self._profiler.events() or (), first_step=self._first)

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        for name, module in _parts(self._model):
            self._open.enter_context(_marked(module, name))
        self._open.enter_context(_marked_step(self._optimizer))
        self._profiler = self._open.enter_context(profile(activities=activities))


class NoProfile:
    """Nothing is recorded."""

    def step(self, number: int) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def write(self, directory: Path, rank: int) -> None: ...


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What is marked: the ranker, and in it the tables and the children of its arch; the loss."""
    for module in model.modules():
        if isinstance(module, Ranker):
            yield BETWEEN, module
            yield TABLES, module.ebc
            yield from module.arch.named_children()
        elif isinstance(module, Loss):
            yield LOSS, module


@contextlib.contextmanager
def _marked_step(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Each step of the optimizer is a range in the trace."""
    bare: Any = optimizer.step

    def step(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + OPTIMIZER):
            return bare(*args, **kwargs)

    optimizer.step = step
    try:
        yield
    finally:
        del optimizer.step


@contextlib.contextmanager
def _marked(module: nn.Module, name: str) -> Iterator[None]:
    """Each forward pass of the module is a range of that name in the trace."""
    ranges: list[record_function] = []

    def enter(*_: Any) -> None:
        ranges.append(record_function(MARK + name))
        ranges[-1].__enter__()

    def leave(*_: Any) -> None:
        ranges.pop().__exit__(None, None, None)

    hooks = [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
