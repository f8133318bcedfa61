"""Comparisons: ranking, trade-offs, failures, the smallest hardware, and the report in its three forms."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import PlanError
from pipeline.reports.plan_comparison import comparison_report, results
from pipeline.reports.plan_comparison_words import table_gaps, verdict
from pipeline.reports.writing import write_report
from sharding_plans.comparing import compare as comparing
from sharding_plans.comparing.compare import FitQuestion, PlannedCase, compare
from sharding_plans.comparing.comparison import Case, Comparison
from sharding_plans.comparing.smallest_fit import smallest_fit
from sharding_plans.files.layout import Cost, PlanFile, ShardPlan, TablePlan
from sharding_plans.files.plan_file import save
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.strategies.strategies import Strategy
from tests.sharding_plans.offline_plans import A100, SMALL, hosts, model, request, table

BIG = model(("big", 1_000_000, 16), ("mid", 200_000, 16), ("few", 100, 16))
SMALL_GPU, LARGE_GPU = hosts(ranks=4, hbm_gib=0.1), replace(hosts(ranks=4, hbm_gib=4), name="large")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    asked = [
        request(strategy, model=BIG, hardware=hardware, global_batch_size=4096)
        for hardware in (SMALL_GPU, LARGE_GPU)
        for strategy in ("table_wise", "row_wise", "planner")
    ]
    questions = [FitQuestion(model=BIG, hardware=SMALL_GPU, global_batch_size=4096, reserved_fraction=0.15)]
    done: list[None] = []
    found = compare(
        BIG,
        [PlannedCase(request=one) for one in asked],
        questions,
        reserved_fraction=0.15,
        num_processes=2,
        on_done=lambda: done.append(None),
    )
    assert len(done) == 7
    return found


def test_cases_come_back_in_order_and_are_ranked_by_speed(comparison: Comparison):
    labels = [case.label for case in comparison.cases]
    assert labels[0] == "table_wise on 4 x test"
    assert labels[5] == "planner on 4 x large"
    speeds = [case.summary.samples_per_s for case in comparison.ranking if case.summary is not None]
    assert speeds == sorted(speeds, reverse=True)
    assert [case.label for case in comparison.failures] == ["table_wise on 4 x test"]


def test_parallel_processes_find_what_one_process_finds(comparison: Comparison):
    for case in comparison.ranking:
        asked = request(
            case.strategy,
            model=BIG,
            hardware=LARGE_GPU if case.hardware == "large" else SMALL_GPU,
            global_batch_size=4096,
        )
        assert case.plan is not None
        assert make_plan_file(asked).tables == case.plan.tables


def _in_two_processes() -> Comparison:
    cases = [PlannedCase(request=request(strategy, model=BIG)) for strategy in ("table_wise", "row_wise")]
    return compare(BIG, cases, reserved_fraction=0.15, num_processes=2)


def test_processes_end_whatever_this_one_does_with_signals():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a library's handler could as well lose the signal
    try:
        assert len(_in_two_processes().ranking) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_is_killed_ends_the_comparison_with_a_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparing, "run_case", lambda case: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(PlanError, match=r"ended from outside.*--num_processes"):
        _in_two_processes()


def test_a_case_without_a_plan_carries_verified_remedies(comparison: Comparison):
    failure = comparison.failures[0].failure
    assert failure is not None
    assert failure.tier == "hbm"
    assert failure.binding_tables == ("big",)
    assert 1 <= len(failure.remedies) <= 3


def test_no_case_beats_a_best_trade_off(comparison: Comparison):
    assert comparison.ranking[0].key in comparison.pareto
    for case in comparison.ranking:
        assert case.summary is not None
        better = [
            other
            for other in comparison.ranking
            if other.summary is not None
            and other.summary.samples_per_s >= case.summary.samples_per_s
            and other.summary.peak_hbm_gib + other.summary.peak_ddr_gib
            < case.summary.peak_hbm_gib + case.summary.peak_ddr_gib
        ]
        assert (case.key in comparison.pareto) == (not better)


def _case(name: str, ms: float, hbm_gib: float) -> Case:
    """A table whole on rank 0 of two, with these costs."""
    cost = Cost(forward_ms=ms, hbm_bytes=round(hbm_gib * 2**30))
    shard = ShardPlan(rank=0, offset=(0, 0), size=(100, 8), cost=cost)
    whole = TablePlan(spec=table("t", 100, 8), sharding_type="table_wise", compute_kernel="fused", shards=(shard,))
    hardware, strategy = hosts(ranks=2, hbm_gib=80), Strategy(name=name)
    plan = PlanFile(
        tables=(whole,),
        hardware=hardware,
        num_ranks=2,
        ranks_per_host=2,
        global_batch_size=10,
        local_batch_size=5,
        strategy=strategy,
        capacity_bytes=80 * 2**30,
        host_capacity_bytes=80 * 2**30,
    )
    return Case(strategy=name, hardware="test", num_ranks=2, global_batch_size=10, plan=plan)


def test_equally_fast_plans_are_beaten_by_the_one_in_less_memory():
    cases = (_case("heavy", 1.0, 4), _case("light", 1.0, 3), _case("lightest", 2.0, 1), _case("worst", 2.0, 5))
    found = Comparison(model=SMALL, cases=cases)
    assert [case.strategy for case in found.ranking] == ["light", "heavy", "lightest", "worst"]
    assert {case.strategy for case in found.ranking if case.key in found.pareto} == {"light", "lightest"}


def test_a_price_gives_cost_per_billion_samples_and_enters_the_trade_off():
    dear = replace(A100, price_per_rank_hour=3.6)
    found = compare(SMALL, [PlannedCase(request=request("row_wise", hardware=dear))], reserved_fraction=0.15)
    summary = found.ranking[0].summary
    assert summary is not None
    assert found.has_prices
    # 4 ranks x 3.6 an hour are 0.004 a second.
    assert summary.cost_per_billion_samples == pytest.approx(1e9 / summary.samples_per_s * 0.004)


def test_gaps_between_tables_add_up_to_the_gap_between_plans(comparison: Comparison):
    first, last = comparison.ranking[0].plan, comparison.ranking[-1].plan
    assert first is not None
    assert last is not None
    assert sum(gap.gap_ms for gap in table_gaps(first, last)) == pytest.approx(last.step_ms - first.step_ms)


def test_a_plan_file_stands_beside_the_strategies(tmp_path: Path):
    plan = make_plan_file(request("row_wise"))
    path = save(plan, tmp_path / "mine.json")
    found = compare(SMALL, [PlannedCase(plan=plan, plan_path=str(path))], reserved_fraction=0.15)
    assert found.ranking[0].strategy == "mine.json"
    tight = replace(plan, hardware=hosts(ranks=4, hbm_gib=0.0001))
    assert (
        "does not fit" in compare(SMALL, [PlannedCase(plan=tight)], reserved_fraction=0.15).failures[0].failure.headline
    )  # pyright: ignore


def test_the_smallest_hardware_is_the_smallest(comparison: Comparison):
    (fit,) = comparison.smallest_fits
    assert fit.in_device_memory is not None
    # 146 MiB of weights and Adagrad's state on GPUs with 87 MiB each for tables: two, if rows are split.
    assert fit.in_device_memory == 2
    assert fit.with_host_memory == 1
    nothing = smallest_fit(
        BIG, hosts(ranks=1, hbm_gib=1e-6, memory_gib=1e-6), global_batch_size=64, reserved_fraction=0, up_to=4
    )
    assert (nothing.in_device_memory, nothing.with_host_memory) == (None, None)


def test_the_report_says_the_same_in_three_forms(comparison: Comparison, tmp_path: Path):
    write_report(tmp_path, comparison_report(comparison))
    page = (tmp_path / "report.html").read_text()
    markdown = (tmp_path / "report.md").read_text()
    values = json.loads((tmp_path / "report.json").read_text())
    winner = comparison.winner
    assert winner is not None
    assert winner.summary is not None
    assert values["results"]["winner"] == winner.key
    assert len(values["results"]["ranking"]) == 5
    assert values["results"]["failures"][0]["remedies"]
    for text in (page, markdown):
        assert f"{winner.label} comes first" in text
        assert f"{winner.summary.step_ms:.2f} ms" in text
        assert "estimate" in text.lower()
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert page.count("<svg") == 5


def test_the_report_of_plans_that_all_fail_says_so_and_helps():
    found = compare(
        BIG, [PlannedCase(request=request("table_wise", model=BIG, hardware=SMALL_GPU))], reserved_fraction=0.15
    )
    assert verdict(found).startswith("**None of the 1 plans fits.**")
    titles = [section.title for section in comparison_report(found).sections]
    assert titles == ["Verdict", "What does not fit", "How to read this"]
    assert results(found)["winner"] is None


def test_strategies_that_find_the_same_plan_are_told_as_one():
    cases = [PlannedCase(request=request(strategy)) for strategy in ("row_wise", "table_row_wise")]
    found = compare(SMALL, cases, reserved_fraction=0.15)
    text = verdict(found)
    assert "equally fast" in text or "found the same plan" in text
