"""Requests without a plan: what is in the way is named, and every remedy that is printed, applied, gives a plan."""

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sharding_plans.explaining.explain import Explanation, explain
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.machines.hardware import shipped_profile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.strategies.strategy_catalog import STRATEGIES
from tests.sharding_plans.offline_plans import CPU, hosts, model, request

# In MiB of weights at 16 columns of fp32: 100,000 rows are 6.1, a million 61; Adagrad doubles them.
BIG = model(("big", 1_000_000, 16), ("mid", 200_000, 16), ("few", 100, 16))
THIRDS = model(("a", 500_000, 16), ("b", 500_000, 16), ("c", 500_000, 16))
PAIR = model(("x", 60_000, 16), ("y", 60_000, 16), ("z", 100, 16))
WIDE = model(("wide", 400_000, 128), ("thin", 400_000, 8))


def pinned(**ranks: int) -> Strategy:
    return Strategy(
        name="pinned", compute_kernels=("fused",), tables={name: TableRule(rank=r) for name, r in ranks.items()}
    )


def ruled(name: str, **rule: Any) -> Strategy:
    return Strategy(name="ruled", tables={name: TableRule(**rule)})


def gpus(hbm_mib: float, memory_mib: float = 64 * 1024, ranks: int = 4):
    return hosts(ranks=ranks, hbm_gib=hbm_mib / 1024, memory_gib=memory_mib / 1024)


def cpus(memory_mib: float, ranks: int = 4):
    return hosts(ranks=ranks, memory_gib=memory_mib / 1024, device="cpu")


@dataclass(frozen=True)
class Case:
    """A request without a plan, and what its explanation must say."""

    request: PlanRequest
    tier: str | None
    tables: tuple[str, ...]
    """Tables that must be named as being in the way."""
    kinds: tuple[str, ...]
    """Kinds of remedies that must be among those found."""


CASES = {
    "a table larger than a GPU": Case(
        request("table_wise", model=BIG, hardware=gpus(100)),
        "hbm",
        ("big",),
        ("ways", "hardware", "optimizer", "dim"),  # in half precision the state stays as it is
    ),
    "all tables larger than all GPUs": Case(
        request("row_wise", model=BIG, hardware=gpus(32)), "hbm", ("big",), ("ranks", "hardware")
    ),
    "neither GPUs nor host memory suffice": Case(
        request("planner", model=BIG, hardware=gpus(20, 40)), "hbm", ("big",), ("ranks", "host_memory")
    ),
    "offloaded tables larger than host memory": Case(
        request(
            Strategy(name="off", compute_kernels=("fused",), offload_above_mib=1, cache_load_factor=0.01),
            model=BIG,
            hardware=gpus(100, 80),
        ),
        "ddr",
        ("big",),
        ("host_memory",),
    ),
    "CPU ranks without memory for their tables": Case(
        request("planner", model=BIG, hardware=cpus(120)), "ddr", ("big",), ("host_memory", "optimizer")
    ),
    "a CPU rank too small for a whole table": Case(
        request("table_wise", model=BIG, hardware=cpus(400)), "ddr", ("big",), ("ways", "host_memory")
    ),
    "a batch whose buffers fill the GPU": Case(
        request("table_wise", model=PAIR, hardware=gpus(100), global_batch_size=2_000_000),
        "hbm",
        (),
        ("batch", "hardware"),
    ),
    "too much kept free": Case(
        request("table_wise", model=PAIR, hardware=gpus(30), reserved_fraction=0.8), "hbm", ("x",), ("reservation",)
    ),
    "a dense part that leaves nothing": Case(
        request("row_wise", model=replace(PAIR, dense_bytes=15 * 2**20), hardware=gpus(100)),
        "hbm",
        ("x",),
        ("hardware",),
    ),
    "tables that one host cannot hold in rows": Case(
        request("table_row_wise", model=BIG, hardware=gpus(18, ranks=2), num_ranks=16), "hbm", ("big",), ("ways",)
    ),
    "tables that one host cannot hold in columns": Case(
        request("table_column_wise", model=WIDE, hardware=gpus(100, ranks=2), num_ranks=8), "hbm", ("wide",), ("ways",)
    ),
    "too many tables pinned to a rank": Case(
        request(pinned(x=1, y=1), model=PAIR, hardware=gpus(12)), "hbm", ("x", "y"), ("pins",)
    ),
    "a table pinned to a rank that is not there": Case(
        request(pinned(x=9), model=PAIR, hardware=gpus(100)), "hbm", ("x",), ("pins",)
    ),
    "a group too large for any rank": Case(
        request(
            Strategy(name="group", compute_kernels=("fused",), together=(("x", "y"),)), model=PAIR, hardware=gpus(12)
        ),
        "hbm",
        ("x", "y"),
        ("pins",),
    ),
    "a kernel that the sharding type does not have": Case(
        request(ruled("x", sharding_types=("table_wise",), compute_kernels=("dense",)), model=PAIR),
        None,
        ("x",),
        ("ways",),
    ),
    "a kernel that CPUs do not have": Case(
        request(
            ruled("x", compute_kernels=("fused_uvm_caching",), sharding_types=("row_wise",)), model=PAIR, hardware=CPU
        ),
        None,
        ("x",),
        ("ways",),
    ),
    "dynamic programming on CPU ranks": Case(request("dynamic_programming", hardware=CPU), None, (), ("strategy",)),
    "offloading on CPU ranks": Case(request("offload", hardware=CPU), None, (), ("strategy",)),
    "columns under row-wise Adagrad": Case(
        request("column_wise", model=model(("a", 1000, 64), optimizer="row_wise_adagrad")), None, (), ("ways",)
    ),
    "copies of a table too large for every rank": Case(
        request(ruled("big", sharding_types=("data_parallel",)), model=BIG, hardware=gpus(100)),
        "hbm",
        ("big",),
        ("ways",),
    ),
    "the state of Adam": Case(
        request("table_wise", model=model(("x", 60_000, 16), optimizer="adam"), hardware=gpus(11)),
        "hbm",
        ("x",),
        ("optimizer",),
    ),
    "three tables for two ranks, each more than half a rank": Case(
        request("table_wise", model=THIRDS, hardware=gpus(110, ranks=2), num_ranks=2), "hbm", ("a",), ("ways", "ranks")
    ),
    "a PC for a model of a data centre": Case(
        request(
            "table_wise",
            model=model(("huge", 40_000_000, 128), ("small", 1000, 128)),
            hardware=shipped_profile("rtx_3050_8gb"),
            num_ranks=1,
            global_batch_size=4096,
        ),
        "hbm",
        ("huge",),
        ("hardware", "dim"),
    ),
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"), scope="module")
def explained(request: pytest.FixtureRequest) -> tuple[Case, Explanation]:
    case = CASES[request.param]
    with pytest.raises(InfeasiblePlan) as caught:
        make_plan_file(case.request)
    return case, explain(case.request, caught.value)


def test_what_is_in_the_way_is_named(explained: tuple[Case, Explanation]):
    case, explanation = explained
    assert explanation.tier == case.tier
    assert set(case.tables) <= set(explanation.binding_tables)
    assert explanation.headline.startswith("No plan for")
    if case.tier is not None:
        assert dict(explanation.budget)["tables: weights"] == sum(t.weight_bytes for t in case.request.model.tables)


def test_every_printed_remedy_applied_gives_a_plan(explained: tuple[Case, Explanation]):
    case, explanation = explained
    kinds = [remedy.kind for remedy in explanation.remedies]
    assert set(case.kinds) <= set(kinds)
    for remedy in explanation.remedies:
        assert remedy.text in str(explanation)
        assert make_plan_file(remedy.request).fits, remedy.text


def test_what_a_remedy_says_is_what_was_planned(explained: tuple[Case, Explanation]):
    """The command-line options of a remedy, read back and applied to the request, give the request that was planned."""
    case, explanation = explained
    for remedy in explanation.remedies:
        flags = dict(re.findall(r"--(\w+) ([\w.]+)(?:;|$)", remedy.how))
        changes: dict[str, Any] = {
            {"ranks": "num_ranks"}.get(key, key): _value(key, value) for key, value in flags.items()
        }
        if (
            changes
            and "in a hardware profile" not in remedy.how
            and "--model" not in remedy.how
            and "--opt" not in remedy.how
        ):
            assert case.request.change(**changes) == remedy.request


def _value(key: str, text: str) -> Any:
    if key == "strategy":
        return STRATEGIES[text]
    if key == "hardware":
        return shipped_profile(text)
    return float(text) if key == "reserved_fraction" else int(text)


def test_there_are_at_least_twenty_cases_of_every_kind():
    assert len(CASES) >= 20
    assert {case.tier for case in CASES.values()} == {"hbm", "ddr", None}


def test_the_smallest_change_of_a_kind_is_found():
    explanation = explain_case("too much kept free")
    remedy = next(remedy for remedy in explanation.remedies if remedy.kind == "reservation")
    kept = remedy.request.reserved_fraction
    with pytest.raises(InfeasiblePlan):
        make_plan_file(remedy.request.change(reserved_fraction=kept + 0.01))


def test_remedies_stop_at_the_number_asked_for():
    case = CASES["a table larger than a GPU"]
    assert len(explain(case.request, InfeasiblePlan("no"), max_remedies=2).remedies) == 2


def test_nothing_is_made_up_where_nothing_helps():
    """Two ranks of a kilobyte each: no change that is tried can hold the tables."""
    hopeless = request("table_wise", model=model(("t", 1000, 4)), hardware=gpus(1e-6, 1e-6, ranks=2), num_ranks=2)
    explanation = explain(hopeless, InfeasiblePlan("no"))
    for remedy in explanation.remedies:
        assert make_plan_file(remedy.request).fits


def explain_case(name: str) -> Explanation:
    return explain(CASES[name].request, InfeasiblePlan("no"))
