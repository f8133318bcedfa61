"""The planning jobs through the command line: plans, comparisons, differences, and every wrong input."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.cli import main
from pipeline.plan_job_config import ComparePlansConfig, names
from sharding_plans.files.plan_file import load

SETTINGS = {
    "data": {"source": "random", "random": {"table_sizes": [50, 4000, 90_000], "num_lookups": [1, 3, 2]}},
    "model": {
        "ranker": "dcnv2",
        "embedding_dim": 16,
        "dense_arch": [8],
        "over_arch": [8, 1],
        "cross": {"rank": 4},
    },
    "optimizer": {"sparse": {"algorithm": "adagrad"}},
    "training": {"global_batch_size": 256},
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return f"--config={path}"


def _plan(config: str, path: Path, *more: str) -> Path:
    assert main(["plan", config, "--hardware=a100_sxm_40gb", "--ranks=4", f"--out={path}", *more]) == 0
    return path


def test_plan_writes_a_plan_for_ranks_that_are_not_there(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    plan = load(_plan(config, tmp_path / "plan.json", "--strategy=row_wise"))
    assert (plan.num_ranks, plan.hardware.name, plan.local_batch_size) == (4, "a100_sxm_40gb", 64)
    second = plan.tables[1].spec
    assert (second.module, second.optimizer) == ("ranker.ebc", "adagrad")
    assert second.pooling_factors[0] == pytest.approx(3, rel=0.01)  # 3 lookups in 4,000 rows, repeats removed
    said = capsys.readouterr().out
    assert "row_wise on 4 x a100_sxm_40gb, 256 rows a step" in said
    assert "estimates of TorchRec's cost model" in said


def test_plan_scores_an_edited_plan(config: str, tmp_path: Path):
    path = _plan(config, tmp_path / "plan.json", "--strategy=table_wise")
    values = json.loads(path.read_text())
    for table in values["tables"]:
        table["shards"] = [{"rank": 0, "offset": table["shards"][0]["offset"], "size": table["shards"][0]["size"]}]
    path.write_text(json.dumps(values))
    assert main(["plan", f"--plan={path}", f"--out={tmp_path / 'scored.json'}"]) == 0
    scored = load(tmp_path / "scored.json")
    assert scored.rank_costs[0].step_ms > 0
    assert [cost.step_ms for cost in scored.rank_costs[1:]] == [0.0, 0.0, 0.0]


def test_rules_of_the_training_job_hold_in_every_strategy(config: str, tmp_path: Path):
    rule = tmp_path / "rule.yaml"
    rule.write_text(yaml.safe_dump({"sharding": {"tables": {"C3": {"sharding_types": ["row_wise"]}}}}))
    plan = load(_plan(config, tmp_path / "plan.json", f"--config={rule}", "--strategy=table_wise"))
    assert [table.sharding_type for table in plan.tables] == ["table_wise", "table_wise", "row_wise"]


def test_no_plan_is_one_message_with_the_budget_and_verified_remedies(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["plan", config, "--hardware=t4_16gb", "--sharding.hbm_gib=0.01", "--strategy=table_wise"]
    assert main([*arguments, f"--out={tmp_path / 'plan.json'}"]) == 2
    said = capsys.readouterr().err
    assert "shardline: No plan for table_wise on 1 x t4_16gb" in said
    assert "table C3 needs" in said
    assert "verified by planning again" in said
    assert not (tmp_path / "plan.json").exists()


def test_compare_plans_writes_three_reports_and_the_plans(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "comparison"
    mine = _plan(config, tmp_path / "mine.json", "--strategy=row_wise")
    code = main(
        [
            "compare-plans",
            config,
            "--clusters=4xa100_sxm_40gb, 1 x rtx_3050_8gb",
            "--strategies=table_wise,row_wise",
            "--global_batch_sizes=[256, 512]",
            f"--plans={mine}",
            "--what_if=false",
            f"--out={out}",
        ]
    )
    assert code == 0
    found = json.loads((out / "report.json").read_text())["results"]
    assert len(found["ranking"]) == 9
    assert {path.name for path in out.iterdir()} == {"report.html", "report.md", "report.json", "plans"}
    assert load(out / "plans" / "row_wise-4xa100_sxm_40gb-512.json").global_batch_size == 512
    assert "comes first" in capsys.readouterr().out


def test_diff_plans_answers_by_exit_code(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a = str(_plan(config, tmp_path / "a.json", "--strategy=row_wise"))
    b = str(_plan(config, tmp_path / "b.json", "--strategy=table_wise"))
    assert main(["diff-plans", a, a]) == 0
    assert main(["diff-plans", a, b]) == 1
    assert "C2: row_wise on 0-3 -> table_wise on" in capsys.readouterr().out
    assert main(["diff-plans", a, b, "--fail_if=step_ms > +1000%"]) == 0
    assert main(["diff-plans", a, b, "--fail_if=step_ms > +1000%,tables_changed > 2"]) == 1
    assert "gate FIRES: tables_changed > 2" in capsys.readouterr().out
    assert main(["diff-plans", a, b, "--format=json"]) == 1
    assert json.loads(capsys.readouterr().out)["tables"][0]["changed"] == ["sharding_type", "split", "ranks"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan --hardware=h100", ['no hardware profile "h100"', "h100_sxm_80gb"]),
        ("plan --hardware=a100_sxm_40gb --strategy=rowwise", ['no strategy "rowwise"', "row_wise"]),
        ("plan --hardware=a100_sxm_40gb --ranks=12", ["12 ranks do not fill hosts of 8", "8 or 16"]),
        ("plan --hardware=a100_sxm_40gb --sharding.tables.D1.sharding_types=[row_wise]", ['no table "D1"', "C1"]),
        ("plan --ranks=0", ["ranks is 0"]),
        ("plan --reserved_fraction=1", ["reserved_fraction is 1.0"]),
        ("plan --global_batch_size=-1", ["global_batch_size is -1"]),
        ("plan --hardware=nowhere.yaml", ["nowhere.yaml cannot be read"]),
        ("plan --plan=nowhere.json", ["nowhere.json cannot be read"]),
        ("compare-plans --clusters=8", ['clusters has "8"', "8 x h100_sxm_80gb"]),
        ("compare-plans --clusters=0xa100_sxm_40gb", ["clusters has"]),
        ("compare-plans --clusters=8xh1000", ['no hardware profile "h1000"']),
        ("compare-plans --clusters=8xa100_sxm_40gb --strategies=none", ['no strategy "none"']),
        ("diff-plans nowhere.json nowhere.json", ["cannot be read"]),
        ("diff-plans a b --fail_if=speed>1", ['no figure "speed"']),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    arguments: str, words: list[str], config: str, capsys: pytest.CaptureFixture[str]
):
    job, *rest = arguments.split()
    assert main([job, *([config] if job != "diff-plans" else []), *rest]) == 2
    said = capsys.readouterr().err
    assert "shardline: " in said
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_clusters_and_names_are_read_from_text_and_lists():
    asked = ComparePlansConfig(clusters=("2 x cpu_host", "16*v100_sxm_32gb"), strategies="planner, grid")
    assert asked.parsed_clusters() == ((2, "cpu_host"), (16, "v100_sxm_32gb"))
    assert asked.strategy_names() == ("planner", "grid")
    assert ComparePlansConfig(ranks=3).parsed_clusters() == ((3, "this-machine"),)
    assert names("a, b,,c") == ("a", "b", "c")
