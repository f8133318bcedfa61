"""A proposer that listens to how its proposals are rated: a start that fits, then whatever change makes it better."""

from collections.abc import Iterator

from torchrec.distributed.planner.proposers import GreedyProposer
from torchrec.distributed.planner.types import Enumerator, Proposer, ShardingOption, Topology

from sharding_plans.types import SHARDING_TYPES

Choice = dict[str, int]
"""By table: which of its options, counted from the one of the least total cost."""


class LocalSearchProposer(Proposer):
    """Changes a proposal where that makes the whole plan's rating better, until no single change does.

    TorchRec's proposers walk down lists, whatever became of the proposals before; but what a plan pays once (the all-reduce of
    all copied tables, the exchange of all tables split by rows) is decided by tables together. So the search takes the first
    of TorchRec's greedy proposals that fits, or one sharding type for all tables where that rates better. Then it gives the
    smallest tables another type, one, two, three ... of them, and tries every other option of every table in turn, the
    costliest table first. What helps stays.
    """

    def __init__(self) -> None:
        self._options: dict[str, list[ShardingOption]] = {}
        self._greedy = GreedyProposer(use_depth=False)
        self._search: Iterator[Choice] = iter(())
        self._asked: Choice | None = None
        self._best: Choice = {}
        self._best_rating = float("inf")

    def load(self, search_space: list[ShardingOption], enumerator: Enumerator | None = None) -> None:
        self._options = {}
        for option in search_space:
            self._options.setdefault(option.fqn, []).append(option)
        for options in self._options.values():
            options.sort(key=lambda option: option.total_perf)
        self._greedy.load(search_space, enumerator)
        self._best_rating = float("inf")
        self._search = self._choices()
        self._asked = next(self._search, None)

    def propose(self) -> list[ShardingOption] | None:
        if self._asked is None:
            return None
        return [self._options[table][place] for table, place in self._asked.items()]

    def feedback(
        self,
        partitionable: bool,
        plan: list[ShardingOption] | None = None,
        perf_rating: float | None = None,
        storage_constraint: Topology | None = None,
    ) -> None:
        if self._asked is None:
            return
        if partitionable and perf_rating is not None and perf_rating < self._best_rating:
            self._best, self._best_rating = self._asked, perf_rating
        self._asked = next(self._search, None)

    def _choices(self) -> Iterator[Choice]:
        """What to try; each is asked for when the rating of the one before is known."""
        yield from self._until_one_fits()
        if self._best_rating == float("inf"):
            return
        kinds = [
            kind for kind in SHARDING_TYPES if any(self._cheapest_of(table, kind) is not None for table in self._best)
        ]
        yield from (self._with_type(self._best, kind, list(self._best)) for kind in kinds)
        rating = None
        while rating != self._best_rating:
            rating = self._best_rating
            for kind in kinds:
                yield from self._small_tables_changed(kind)
            yield from self._one_table_changed()

    def _until_one_fits(self) -> Iterator[Choice]:
        while self._best_rating == float("inf") and (proposal := self._greedy.propose()):
            yield {option.fqn: self._place_of(option) for option in proposal}
            self._greedy.feedback(partitionable=False)

    def _small_tables_changed(self, kind: str) -> Iterator[Choice]:
        start = self._best
        by_size = sorted(start, key=lambda table: self._options[table][0].tensor.numel())
        for count in range(1, len(by_size)):
            choice = self._with_type(start, kind, by_size[:count])
            if choice != self._asked:
                yield choice

    def _one_table_changed(self) -> Iterator[Choice]:
        for table in sorted(self._best, key=lambda table: -self._options[table][0].total_perf):
            for place in range(len(self._options[table])):
                if place != self._best[table]:
                    yield {**self._best, table: place}

    def _with_type(self, choice: Choice, kind: str, tables: list[str]) -> Choice:
        """The choice with a type for those of the tables that may take it."""
        places = {table: self._cheapest_of(table, kind) for table in tables}
        return {**choice, **{table: place for table, place in places.items() if place is not None}}

    def _cheapest_of(self, table: str, kind: str) -> int | None:
        places = (place for place, option in enumerate(self._options[table]) if option.sharding_type == kind)
        return next(places, None)

    def _place_of(self, option: ShardingOption) -> int:
        return next(place for place, each in enumerate(self._options[option.fqn]) if each is option)
