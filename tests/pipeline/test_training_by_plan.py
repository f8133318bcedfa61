"""`train --plan`: a plan file in place of the planner."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main
from tests.pipeline.job_runs import losses_of, run_command, tiny_settings

Train = Callable[..., Path]
FEW = "--training.max_steps=4 --training.log_every_steps=1"


def test_a_runs_own_plan_trains_another_run_alike(train: Train):
    first = train(FEW, "first")
    again = train(f"{FEW} --plan={first / 'plan.json'}", "again")
    assert losses_of(again) == losses_of(first)
    assert "C3" in (again / "plan.txt").read_text()


def test_an_edited_plan_moves_tables_and_leaves_losses_as_they_were(prepared: Path, train: Train, tmp_path: Path):
    alone = train(FEW, "alone")
    settings = [
        *tiny_settings(prepared, tmp_path, "pair"),
        *FEW.split(),
        "--ranks=2",
        "--sharding.sharding_types=[table_wise]",
    ]
    assert run_command("train", *settings).returncode == 0
    plan = json.loads((tmp_path / "pair" / "plan.json").read_text())
    for table in plan["tables"]:
        table["shards"] = [{"rank": 1, "offset": shard["offset"], "size": shard["size"]} for shard in table["shards"]]
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(plan))
    done = run_command(
        "train", *tiny_settings(prepared, tmp_path, "moved"), *FEW.split(), "--ranks=2", f"--plan={edited}"
    )
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "moved") == pytest.approx(losses_of(alone), abs=1e-6)
    kept = json.loads((tmp_path / "moved" / "plan.json").read_text())
    assert {shard["rank"] for table in kept["tables"] for shard in table["shards"]} == {1}


def test_a_plan_for_another_model_or_other_ranks_is_refused(
    train: Train, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    plan = train(FEW, "first") / "plan.json"
    other = [
        *tiny_settings(prepared, tmp_path, "other"),
        f"--plan={plan}",
        "--model.embedding_dim=8",
        "--model.dense_arch=[8]",
    ]
    assert main(["train", *other]) == 2
    assert "C1" in capsys.readouterr().err
    done = run_command("train", *tiny_settings(prepared, tmp_path, "pair"), f"--plan={plan}", "--ranks=2")
    assert done.returncode == 2
    assert "2 ranks" in done.stderr
    assert not (tmp_path / "other").exists()
