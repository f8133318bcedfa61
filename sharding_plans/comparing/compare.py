"""Planning many cases in parallel processes and putting them side by side.

TorchRec's planner is Python and holds one core; a comparison is many plans, so the cases are shared out over processes.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from data.errors import PlanError
from sharding_plans.comparing.comparison import Case, Comparison, Failure, SmallestFit
from sharding_plans.comparing.smallest_fit import smallest_fit
from sharding_plans.explaining.explain import explain
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import installed_versions
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.tables.table_specs import ModelTables

_SLOW = {"planner": 4, "dynamic_programming": 4, "memory_balanced": 5, "local_search": 10}


@dataclass(frozen=True, kw_only=True)
class PlannedCase:
    """A case to plan: a request, or a plan file to score on the hardware it names."""

    request: PlanRequest | None = None
    plan: PlanFile | None = None
    plan_path: str = ""
    max_remedies: int = 3


@dataclass(frozen=True, kw_only=True)
class FitQuestion:
    """How many ranks of this hardware does the model need?"""

    model: ModelTables
    hardware: HardwareProfile
    global_batch_size: int
    reserved_fraction: float


def compare(
    model: ModelTables,
    cases: Sequence[PlannedCase],
    questions: Sequence[FitQuestion] = (),
    *,
    reserved_fraction: float,
    num_processes: int | None = None,
    on_done: Callable[[], Any] | None = None,
    origin: tuple[tuple[str, str], ...] = (),
) -> Comparison:
    """All cases planned, scored and explained, and all questions answered, in the order given.

    `on_done` is called after each of them. By default as many processes as cores.
    """
    start = perf_counter()
    work: list[Any] = [*cases, *questions]
    processes = max(1, min(num_processes or len(os.sched_getaffinity(0)), len(work)))
    answers: list[Any] = [None] * len(work)
    for index, answer in _answers(work, processes):
        answers[index] = answer
        if on_done is not None:
            on_done()
    return Comparison(
        model=model,
        cases=tuple(answers[: len(cases)]),
        smallest_fits=tuple(answers[len(cases) :]),
        reserved_fraction=reserved_fraction,
        versions=installed_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=perf_counter() - start,
        num_processes=processes,
        origin=origin,
    )


def run_case(case: PlannedCase) -> Case:
    """One case planned and scored; where there is no plan, why, and what would help."""
    start = perf_counter()
    if case.request is None:
        assert case.plan is not None
        return _scored(case.plan, case.plan_path, start)
    request, plan, failure = case.request, None, None
    try:
        plan = make_plan_file(request)
    except InfeasiblePlan as error:
        failure = _failure(request, error, case.max_remedies)
    except PlanError as error:
        failure = Failure(headline=str(error))
    return Case(
        strategy=request.strategy.name,
        hardware=request.hardware.name,
        num_ranks=request.num_ranks,
        global_batch_size=request.global_batch_size,
        plan=plan,
        failure=failure,
        seconds=perf_counter() - start,
    )


def _scored(plan: PlanFile, path: str, start: float) -> Case:
    """A plan file's case, with fresh costs: it may have been edited, or made by another version."""
    scored, failure = None, None
    try:
        scored = score(plan)
    except PlanError as error:
        failure = Failure(headline=str(error))
    if scored is not None and not scored.fits:
        failure = Failure(headline=_does_not_fit(scored))
    return Case(
        strategy=Path(path).name or plan.strategy.name,
        hardware=plan.hardware.name,
        num_ranks=plan.num_ranks,
        global_batch_size=plan.global_batch_size,
        plan=scored,
        failure=failure,
        seconds=perf_counter() - start,
    )


def _does_not_fit(plan: PlanFile) -> str:
    tier = "ddr_bytes" if plan.hardware.device == "cpu" else "hbm_bytes"
    fullest = max(range(plan.num_ranks), key=lambda rank: getattr(plan.rank_costs[rank], tier))
    taken, room = getattr(plan.rank_costs[fullest], tier) / 2**30, plan.capacity_bytes / 2**30
    return f"The plan does not fit: rank {fullest} would hold {taken:.2f} GiB, and {room:.2f} GiB is free for tables."


def _failure(request: PlanRequest, error: InfeasiblePlan, max_remedies: int) -> Failure:
    why = explain(request, error, max_remedies=max_remedies)
    return Failure(
        headline=why.headline,
        tier=why.tier,
        binding_tables=why.binding_tables,
        budget=why.budget,
        remedies=tuple((remedy.text, remedy.how) for remedy in why.remedies),
        num_planned=why.num_planned,
    )


def _answer(item: tuple[int, Any]) -> tuple[int, Any]:
    index, work = item
    if isinstance(work, FitQuestion):
        return index, _fit(work)
    return index, run_case(work)


def _fit(question: FitQuestion) -> SmallestFit:
    return smallest_fit(
        question.model,
        question.hardware,
        global_batch_size=question.global_batch_size,
        reserved_fraction=question.reserved_fraction,
    )


def _answers(work: list[Any], processes: int) -> Iterator[tuple[int, Any]]:
    """(index, answer) as they become ready; the longest work is begun first, so that no core waits at the end."""
    items = sorted(enumerate(work), key=lambda item: -_effort(item[1]))
    if processes == 1:
        yield from map(_answer, items)
        return
    # Forked workers need not import torch again (seconds each). They only plan: meta tensors, no threads, no device.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), initializer=_be_worker)
    try:
        for answer in as_completed([pool.submit(_answer, item) for item in items]):
            yield answer.result()
    except BrokenProcessPool as error:
        raise PlanError(
            "A process that plans was ended from outside, by a lack of memory perhaps; nothing was written. Take a"
            " smaller --num_processes if memory was short."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _be_worker() -> None:
    """One thread, and signals as the system knows them: a library's handler in the parent was not written for this process."""
    torch.set_num_threads(1)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)


def _effort(work: Any) -> float:
    if isinstance(work, FitQuestion):
        return 3.0
    if work.request is None:
        return 1.0
    return _SLOW.get(work.request.strategy.name, 1) * work.request.num_ranks**0.5
