"""Plan files: exact round trips, and every kind of damage refused with one message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.errors import PlanError
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import live_plan_file, plan_file_of, to_sharding_plan
from sharding_plans.files.plan_file import from_text, load, save, to_text
from sharding_plans.files.plan_fits import check_fits
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.planning.offline import plan_offline
from sharding_plans.tables.from_model import build_tables_module
from tests.sharding_plans.offline_plans import SMALL, model, request, table


@pytest.fixture(scope="module")
def plan() -> PlanFile:
    return make_plan_file(request("row_wise"))


@pytest.mark.parametrize("strategy", ["planner", "row_wise", "grid", "table_column_wise", "offload"])
def test_a_plan_comes_back_exactly_and_is_torchrecs_own(strategy: str, tmp_path: Path):
    asked = request(strategy, num_ranks=16)
    planned = plan_offline(asked)
    written = plan_file_of(asked, planned.options, make_plan_file(asked).search)
    back = load(save(written, tmp_path / "deep" / "plan.json"))
    assert back == written
    assert to_text(back) == to_text(written)
    assert to_sharding_plan(back) == planned.plan
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "plan.json"]


def test_totals_per_rank_are_the_sums_of_the_shards(plan: PlanFile):
    written = json.loads(to_text(plan))
    for rank in written["ranks"]:
        shards = [s for t in written["tables"] for s in t["shards"] if s["rank"] == rank["rank"]]
        for key in ("hbm_bytes", "ddr_bytes", "forward_ms", "step_ms"):
            assert rank[key] == pytest.approx(sum(shard[key] for shard in shards))
    assert written["step_ms"] == max(rank["step_ms"] for rank in written["ranks"])


def test_one_shard_takes_one_line_so_that_plans_compare_by_line(plan: PlanFile):
    lines = to_text(plan).splitlines()
    assert sum('"offset"' in line for line in lines) == sum(len(t.shards) for t in plan.tables) == 16
    assert max(map(len, lines)) < 500


def _set(path: str, value: Any) -> Callable[[dict], None]:
    """Sets a value; the path's parts are keys and positions, parted by dots."""

    def change(values: Any) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            values = values[part]
        values[last] = value

    return change


def _drop(path: str) -> Callable[[dict], None]:
    def change(values: Any) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            values = values[part]
        del values[last]

    return change


# Table 2 of the row-wise plan is `many`: 20,000 rows on 4 ranks, 5,000 each.
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_set("format", "other"), 'its "format" is not'),
        (_set("version", 99), "plan format 99, this Shardline reads up to 1"),
        (_drop("tables"), "key 'tables' is missing"),
        (_drop("tables.2.embedding_dim"), "key 'embedding_dim' is missing"),
        (_set("tables.2.shards.1.offset", [4999, 0]), r"table many: the shards at .* overlap"),
        (_drop("tables.2.shards.3"), "table many: 80000 of its 320000 weights lie on no rank"),
        (_set("tables.2.shards.3.rank", 4), r"table many: shards on ranks \[4\], but the ranks are 0 to 3"),
        (_set("tables.2.shards.3.size", [5001, 16]), "table many: a shard at .* leaves its 20000 rows"),
        (_set("tables.2.shards.3.rank", "two"), "rank is 'two', expected a whole number"),
        (_set("tables.2.sharding_type", "rowwise"), 'no sharding type "rowwise".*row_wise'),
        (_set("tables.2.compute_kernel", "fast"), 'no compute kernel "fast"'),
        (_set("tables.2.name", "wide"), "table wide is there twice"),
        (_set("tables.2.shards.0.offset", [0]), "a value is of the wrong kind"),
        (_set("hardware.hbm_gib", -1), "hbm_gib is -1"),
        (_set("num_ranks", 0), "0 ranks do not fill hosts"),
        (_set("tables", []), "it has no tables"),
    ],
)
def test_a_damaged_plan_is_refused_with_what_is_wrong(damage: Callable[[dict], None], words: str, plan: PlanFile):
    values = json.loads(to_text(plan))
    damage(values)
    with pytest.raises(PlanError, match=words) as caught:
        from_text(json.dumps(values), origin="mine.json")
    assert str(caught.value).startswith("mine.json")


def test_a_plan_that_is_cut_off_or_absent_is_refused(plan: PlanFile, tmp_path: Path):
    text = to_text(plan)
    for end in range(0, len(text) - 2, 97):
        with pytest.raises(PlanError, match="no whole JSON document"):
            from_text(text[:end], origin="mine.json")
    with pytest.raises(PlanError, match="cannot be read"):
        load(tmp_path / "absent.json")


def test_a_plan_fits_the_model_and_the_ranks_that_it_was_made_for(plan: PlanFile):
    check_fits(plan, build_tables_module(SMALL), num_ranks=4)  # raises nothing
    with pytest.raises(PlanError, match="lays tables over 4 ranks"):
        check_fits(plan, build_tables_module(SMALL), num_ranks=2)


def test_a_plan_for_other_tables_is_refused_table_by_table(plan: PlanFile):
    others = model(("few", 4, 16), ("some", 400, 32), ("many", 20_000, 16), ("wider", 5_000, 64))
    with pytest.raises(PlanError) as caught:
        check_fits(plan, build_tables_module(others), num_ranks=8)
    message = str(caught.value)
    assert "it lays tables over 4 ranks" in message
    assert "table few: rows 3 in the plan, 4 in the model" in message
    assert "table some: columns 16 in the plan, 32 in the model" in message
    assert "table wider: the plan does not have it" in message
    assert "table wide: the model does not have it (its nearest is wider)" in message
    assert "table many" not in message


def test_a_plan_laid_out_by_host_needs_hosts_of_that_size():
    by_host = make_plan_file(request("table_row_wise", num_ranks=16))
    module = build_tables_module(SMALL)
    check_fits(by_host, module, num_ranks=16, ranks_per_host=8)
    with pytest.raises(PlanError, match="laid out over hosts of 8 ranks, but there are 4 ranks a host"):
        check_fits(by_host, module, num_ranks=16, ranks_per_host=4)


def test_tables_go_to_the_collection_that_holds_them_in_the_live_model(plan: PlanFile):
    moved = model(*[(t.name, t.num_embeddings, t.embedding_dim) for t in SMALL.tables], module="ranker.deep.ebc")
    live = to_sharding_plan(plan, device="cpu", module=build_tables_module(moved))
    assert list(live.plan) == ["ranker.deep.ebc"]
    first = live.plan["ranker.deep.ebc"]["many"].sharding_spec.shards[1]  # pyright: ignore
    assert str(first.placement) == "rank:1/cpu"


def test_a_live_plan_becomes_a_plan_file():
    planned = plan_offline(request("table_wise"))
    live = live_plan_file(planned, SMALL, global_batch_size=64)
    assert to_sharding_plan(live) == planned.plan
    assert live.hardware.hbm_gib == 40
    assert from_text(to_text(live), origin="here") == live


def test_the_fingerprint_is_about_tables_and_layout_alone(plan: PlanFile):
    again = make_plan_file(request("row_wise", global_batch_size=128))
    assert again.fingerprint == plan.fingerprint
    assert make_plan_file(request("table_wise")).fingerprint != plan.fingerprint
    renamed = model(("new", 3, 16), *[(t.name, t.num_embeddings, t.embedding_dim) for t in SMALL.tables[1:]])
    assert make_plan_file(request("row_wise", model=renamed)).fingerprint != plan.fingerprint
    assert table("a", 1).bytes_with_state == 2 * table("a", 1, optimizer="sgd").bytes_with_state


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "sharding_plans" / "plans").glob("*.json")), ids=str
)
def test_every_shipped_plan_loads_fits_and_keeps_its_costs(path: Path):
    shipped = load(path)
    assert shipped.fits
    assert to_text(shipped) == path.read_text()
    assert score(shipped).step_ms == pytest.approx(shipped.step_ms)
