"""Many plans side by side: who fits, who is fastest, which are worth a look. Light: no torch here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from sharding_plans.files.layout import PlanFile
from sharding_plans.files.summary import Summary, summarise
from sharding_plans.tables.table_specs import ModelTables

TIE = 0.10
"""Gaps of less than this share are called a tie: a rule of thumb for figures of an uncalibrated cost model."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a case has no plan, and verified changes after which it has one (in words, and how to ask for them)."""

    headline: str
    tier: str | None = None
    binding_tables: tuple[str, ...] = ()
    budget: tuple[tuple[str, float], ...] = ()
    remedies: tuple[tuple[str, str], ...] = ()
    num_planned: int = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a comparison: a strategy (or a plan file) on so many ranks of some hardware, for some batch."""

    strategy: str
    hardware: str
    num_ranks: int
    global_batch_size: int
    plan: PlanFile | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    """How long planning took."""

    @cached_property
    def summary(self) -> Summary | None:
        return summarise(self.plan) if self.plan is not None else None

    @property
    def cluster(self) -> str:
        return f"{self.num_ranks} x {self.hardware}"

    @property
    def label(self) -> str:
        return f"{self.strategy} on {self.cluster}"

    @property
    def key(self) -> str:
        """Tells the cases of one comparison apart."""
        return f"{self.label}, {self.global_batch_size:,} rows"

    @property
    def fits(self) -> bool:
        return self.summary is not None and self.summary.fits


@dataclass(frozen=True, kw_only=True)
class SmallestFit:
    """The fewest ranks of one kind of hardware on which the model has a plan; None where up to `tried_up_to` had none."""

    hardware: str
    description: str
    in_device_memory: int | None
    """With every table in device memory."""
    with_host_memory: int | None
    """With tables allowed to go to host memory."""
    tried_up_to: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of comparing plans: every report is written from it."""

    model: ModelTables
    cases: tuple[Case, ...]
    smallest_fits: tuple[SmallestFit, ...] = ()
    reserved_fraction: float = 0.0
    versions: tuple[tuple[str, str], ...] = ()
    created: str = ""
    seconds: float = 0.0
    num_processes: int = 1
    origin: tuple[tuple[str, str], ...] = field(default=())
    """Where the model came from: file, fingerprint."""

    @cached_property
    def ranking(self) -> tuple[Case, ...]:
        """The cases that fit, most samples a second first."""
        fitting = [case for case in self.cases if case.fits]
        return tuple(sorted(fitting, key=_order))

    @cached_property
    def failures(self) -> tuple[Case, ...]:
        """The cases without a plan that fits, as asked for."""
        return tuple(case for case in self.cases if not case.fits)

    @property
    def winner(self) -> Case | None:
        return self.ranking[0] if self.ranking else None

    @cached_property
    def second(self) -> Case | None:
        """The best case whose plan is not the winner's own layout on the same hardware."""
        if self.winner is None:
            return None
        return next((case for case in self.ranking[1:] if not _same_plan(case, self.winner)), None)

    @cached_property
    def pareto(self) -> frozenset[str]:
        """Keys of the cases that no other case beats: as fast or faster, in no more memory, at no higher price."""
        points = {case.key: _point(case, self.has_prices) for case in self.ranking}
        return frozenset(
            key for key, point in points.items() if not any(_beats(other, point) for other in points.values())
        )

    @property
    def has_prices(self) -> bool:
        """Whether every case that fits has a price, so that cost can be compared."""
        return bool(self.ranking) and all(
            case.summary is not None and case.summary.cost_per_billion_samples is not None for case in self.ranking
        )

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(sorted({case.global_batch_size for case in self.cases}))

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(case.cluster for case in self.cases))


def _order(case: Case) -> tuple[float, float, str]:
    assert case.summary is not None
    # Between equally fast plans the one that needs less memory comes first, then the name decides.
    return (-round(case.summary.samples_per_s, 3), case.summary.peak_hbm_gib + case.summary.peak_ddr_gib, case.label)


def _same_plan(a: Case, b: Case) -> bool:
    if a.plan is None or b.plan is None:
        return False
    return (a.cluster, a.global_batch_size, a.plan.fingerprint) == (b.cluster, b.global_batch_size, b.plan.fingerprint)


def _point(case: Case, has_prices: bool) -> tuple[float, ...]:
    """Smaller is better in every place."""
    summary = case.summary
    assert summary is not None
    price = summary.cost_per_billion_samples if has_prices else None
    memory = summary.peak_hbm_gib + summary.peak_ddr_gib
    return (-summary.samples_per_s, memory) + ((price,) if price is not None else ())


def _beats(one: Iterable[float], other: Iterable[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
