"""The losses of the steps since the last line of the log, in memory that is taken once."""

import math

import torch
from torch import Tensor


class SeenSteps:
    """This rank's losses of up to `capacity` successive steps, kept on `device` until they are looked at.

    A tensor kept for each step would do, but small things that live long, left between the large ones of every step, cut the
    heap into pieces that fit nothing: the process then grows by much more than it holds.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._losses = torch.zeros(capacity, device=device)
        self._first_step = self._count = 0
        # On the CPU a loss is read at once, and written by way of numpy: a fraction of what an operation of torch takes.
        self._here = self._losses.numpy() if device.type == "cpu" else None

    def __len__(self) -> int:
        return self._count

    def add(self, step: int, loss: Tensor) -> None:
        """The scalar loss of a step; it is the one after the last that was added."""
        if not self._count:
            self._first_step = step
        if self._here is not None:
            self._here[self._count] = loss.item()
        else:
            self._losses[self._count] = loss.detach()
        self._count += 1

    def last_is_finite(self) -> bool:
        """Whether the newest loss is finite; waits for the device."""
        losses = self._losses if self._here is None else self._here
        return math.isfinite(losses[self._count - 1])

    def mean(self) -> Tensor:
        """The mean loss over the steps, a scalar on the device."""
        return self._losses[: self._count].mean()

    def first_bad(self) -> tuple[int, float] | None:
        """The first step whose loss is not finite, and that loss; None where all are finite."""
        losses = self._losses[: self._count].tolist()
        return next(((self._first_step + at, loss) for at, loss in enumerate(losses) if not math.isfinite(loss)), None)

    def clear(self) -> None:
        self._count = 0
