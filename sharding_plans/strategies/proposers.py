"""A proposer that stops after a number of proposals and tells how far it is."""

from collections.abc import Callable
from typing import Any

from torchrec.distributed.planner.types import Enumerator, Proposer, ShardingOption, Topology


class Stop:
    """Shared by the proposers of one search: ends it at the first plan that fits, where that is all one wants to know."""

    def __init__(self, *, after_first_plan: bool = False) -> None:
        self._after_first_plan = after_first_plan
        self.is_reached = False

    def saw(self, partitionable: bool) -> None:
        """Take note of what became of a proposal."""
        self.is_reached = self.is_reached or (self._after_first_plan and partitionable)


class LimitedProposer(Proposer):
    """Another proposer's proposals, `limit` of them at most; `on_proposal` is called at each."""

    def __init__(
        self, proposer: Proposer, limit: int, stop: Stop | None = None, on_proposal: Callable[[], Any] | None = None
    ) -> None:
        self._proposer = proposer
        self._limit = limit
        self._left = limit
        self._stop = stop or Stop()
        self._on_proposal = on_proposal or (lambda: None)

    def load(self, search_space: list[ShardingOption], enumerator: Enumerator | None = None) -> None:
        self._left = self._limit
        self._proposer.load(search_space, enumerator)

    def propose(self) -> list[ShardingOption] | None:
        if self._left <= 0 or self._stop.is_reached:
            return None
        self._left -= 1
        self._on_proposal()
        return self._proposer.propose()

    def feedback(
        self,
        partitionable: bool,
        plan: list[ShardingOption] | None = None,
        perf_rating: float | None = None,
        storage_constraint: Topology | None = None,
    ) -> None:
        self._stop.saw(partitionable)
        self._proposer.feedback(partitionable, plan, perf_rating, storage_constraint)
