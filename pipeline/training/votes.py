"""What any rank has noticed, known to all ranks at the same step: a request to stop, a loss that is not finite."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from pipeline.ranks import Ranks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """Whether any rank was asked to stop, and whether any rank saw a loss that is not finite."""

    stop: bool = False
    bad_loss: bool = False


class Votes:
    """One small all-reduce a step over a gloo group of its own; its outcome is asked for a step later, when it is there."""

    def __init__(self, ranks: Ranks) -> None:
        self._group = ranks.own_group()
        self._pending: tuple[torch.Tensor, dist.Work] | None = None

    def exchange(self, mine: Verdict) -> Verdict:
        """Hand in this rank's vote of this step; the verdict on the step before (alone: on this step). A collective."""
        if self._group is None:
            return mine
        verdict = self.outstanding()
        vote = torch.tensor([mine.stop, mine.bad_loss], dtype=torch.int32)
        work = dist.all_reduce(vote, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._pending = (vote, work)  # pyright: ignore[reportAttributeAccessIssue]
        return verdict

    def outstanding(self) -> Verdict:
        """The verdict on the last vote that was handed in."""
        if self._pending is None:
            return Verdict()
        vote, work = self._pending
        work.wait()
        self._pending = None
        return Verdict(*(bool(value) for value in vote.tolist()))


@contextmanager
def noticing_sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM (how clusters announce that they take a machine back) sets, in place of ending the process."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(signum: int, frame: object) -> None:
        asked.set()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
