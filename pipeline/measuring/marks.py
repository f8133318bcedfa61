"""Points in time of a step: read off the host's clock, or recorded as CUDA events among the kernels they part."""

import time
from itertools import pairwise
from typing import Any

import torch


class Marks:
    """Milliseconds between marks, by the name of the part that each mark ends.

    On CUDA a mark is an event in the current stream, and `read` waits for the device; on CPU it is the host's clock.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []

    def start(self) -> None:
        """Forget all marks; what follows is measured from here."""
        self._marks = [("", self._now())]

    def end(self, part: str) -> None:
        """What came since the last mark was that part."""
        self._marks.append((part, self._now()))

    def read(self) -> dict[str, float]:
        """Milliseconds by part since `start`; parts that came several times are added up."""
        if self._is_cuda:
            torch.cuda.synchronize()
        found: dict[str, float] = {}
        for (_, earlier), (part, later) in pairwise(self._marks):
            found[part] = found.get(part, 0.0) + self._between(earlier, later)
        return found

    def _now(self) -> Any:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, earlier: Any, later: Any) -> float:
        return earlier.elapsed_time(later) if self._is_cuda else 1000 * (later - earlier)
