"""What differs between two plans, on layouts small enough to work out by hand; and the gates for CI."""

import math
from dataclasses import replace

import pytest

from data.errors import PlanError
from sharding_plans.comparing.diff import diff_plans, missing_bytes
from sharding_plans.comparing.diff_text import diff_text, diff_values
from sharding_plans.comparing.gates import METRICS, judge, parse_gate
from sharding_plans.files.layout import Cost, PlanFile, ShardPlan, TablePlan
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from tests.sharding_plans.offline_plans import hosts, request, table

# 100 rows x 8 columns of fp32 with Adagrad: 8 bytes a weight, weights and state together.
SPEC = table("t", 100, 8)


def placed(kind: str, *shards: tuple[int, tuple[int, int], tuple[int, int], float, int]) -> TablePlan:
    """The table as shards of (rank, offset, size, forward ms, HBM bytes)."""
    plans = [
        ShardPlan(rank=rank, offset=offset, size=size, cost=Cost(forward_ms=ms, hbm_bytes=held))
        for rank, offset, size, ms, held in shards
    ]
    return TablePlan(spec=SPEC, sharding_type=kind, compute_kernel="fused", shards=tuple(plans))


WHOLE_ON_0 = placed("table_wise", (0, (0, 0), (100, 8), 2.0, 1000))
WHOLE_ON_1 = placed("table_wise", (1, (0, 0), (100, 8), 2.0, 1000))
ROWS = placed("row_wise", (0, (0, 0), (50, 8), 1.0, 500), (1, (50, 0), (50, 8), 1.0, 500))
COLUMNS = placed("column_wise", (0, (0, 0), (100, 4), 1.5, 500), (1, (0, 4), (100, 4), 1.5, 500))
COPIES = placed("data_parallel", (0, (0, 0), (100, 8), 0.5, 1000), (1, (0, 0), (100, 8), 0.5, 1000))


def plan(*tables: TablePlan) -> PlanFile:
    return PlanFile(
        tables=tables,
        hardware=hosts(ranks=2),
        num_ranks=2,
        ranks_per_host=2,
        global_batch_size=10,
        local_batch_size=5,
        strategy=STRATEGIES["planner"],
        capacity_bytes=10_000,
    )


@pytest.mark.parametrize(
    ("before", "after", "weights"),
    [
        (WHOLE_ON_0, WHOLE_ON_0, 0),
        (WHOLE_ON_0, WHOLE_ON_1, 800),
        (WHOLE_ON_0, ROWS, 400),  # rank 1 fetches its 50 rows
        (ROWS, WHOLE_ON_0, 400),
        (ROWS, COLUMNS, 400),  # each rank already has a quarter, needs another
        (COLUMNS, ROWS, 400),
        (WHOLE_ON_0, COPIES, 800),
        (COPIES, ROWS, 0),
        (ROWS, COPIES, 800),
    ],
)
def test_bytes_to_migrate_are_what_ranks_do_not_hold_yet(before: TablePlan, after: TablePlan, weights: int):
    assert missing_bytes(before, after) == weights * 8


def test_a_difference_names_what_changed_and_by_how_much_each_rank():
    diff = diff_plans(plan(WHOLE_ON_0), plan(ROWS))
    (only,) = diff.tables
    assert only.changed == ("sharding_type", "split", "ranks")
    assert [(rank.step_ms, rank.hbm_bytes) for rank in diff.ranks] == [(-1.0, -500), (1.0, 500)]
    assert (diff.a.imbalance, diff.b.imbalance) == (1.0, 0.0)
    text = diff_text(diff)
    assert "t: table_wise on 0 -> row_wise on 0-1" in text
    assert "rank 1: +1.000 ms" in text


def test_only_ranks_differ_when_a_table_moves():
    diff = diff_plans(plan(WHOLE_ON_0), plan(WHOLE_ON_1))
    assert diff.tables[0].changed == ("ranks",)
    assert not diff.is_same


def test_tables_of_one_plan_only_are_named_and_nothing_of_them_moves():
    other = replace(WHOLE_ON_0, spec=table("u", 100, 8))
    diff = diff_plans(plan(WHOLE_ON_0), plan(WHOLE_ON_0, other))
    assert [(one.name, one.changed) for one in diff.tables] == [("u", ("only_in_b",))]
    assert diff.moved_bytes == diff.moved_back_bytes == 0
    assert diff_plans(plan(WHOLE_ON_0, other), plan(WHOLE_ON_0)).tables[0].changed == ("only_in_a",)


def test_costs_alone_make_no_difference():
    slower = replace(WHOLE_ON_0, shards=(replace(WHOLE_ON_0.shards[0], cost=Cost(forward_ms=9)),))
    diff = diff_plans(plan(WHOLE_ON_0), plan(slower))
    assert diff.is_same
    assert diff.ranks[0].step_ms == 7.0


def test_a_plan_does_not_differ_from_itself():
    whole = make_plan_file(request())
    diff = diff_plans(whole, whole)
    assert diff.is_same
    assert diff_text(diff) == "The plans are the same: same tables, same layout."
    assert diff_values(diff)["tables"] == []


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("step_ms > +5%", False),  # 2 ms to 1 ms
        ("step_ms < -40%", True),
        ("step_ms < -0.5", True),
        ("step_ms > 0.9", True),
        ("step_ms >= 1.0", True),
        ("imbalance > 0", False),
        ("tables_changed > 0", True),
        ("moved_gib > 1", False),
        ("peak_ddr_gib > +5%", False),  # 0 in both
        ("sent_mib>+1000%", False),
    ],
)
def test_gates_fire_on_changes_and_on_figures(text: str, fires: bool):
    assert judge(parse_gate(text), diff_plans(plan(WHOLE_ON_0), plan(ROWS))).fires == fires


def test_a_figure_that_was_zero_grows_without_bound():
    spilled = replace(WHOLE_ON_0, shards=(replace(WHOLE_ON_0.shards[0], cost=Cost(ddr_bytes=5)),))
    assert judge(parse_gate("peak_ddr_gib > +5%"), diff_plans(plan(WHOLE_ON_0), plan(spilled))).fires


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("peak_hbm > +5%", 'no figure "peak_hbm"; known, the nearest first: peak_hbm_gib'),
        ("peak_hbm_gib > 5%", "needs a sign"),
        ("peak_hbm_gib +5%", "is no gate"),
        ("tables_changed > +1", "about the difference already"),
        ("", "is no gate"),
    ],
)
def test_a_wrong_gate_says_what_is_wrong(text: str, words: str):
    with pytest.raises(PlanError, match=words.replace("+", r"\+")):
        parse_gate(text)


def test_every_metric_of_the_gates_has_a_figure():
    diff = diff_plans(plan(WHOLE_ON_0), plan(ROWS))
    figures = {metric: judge(parse_gate(f"{metric} > 1"), diff).value for metric in METRICS}
    assert [metric for metric, figure in figures.items() if not math.isfinite(figure)] == []
