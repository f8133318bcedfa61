"""Whole jobs through the command line: real data, real gloo ranks, real checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from tests.pipeline.job_runs import REPOSITORY, command, losses_of, metrics_of, run_command, tiny_settings

Train = Callable[..., Path]
EVERY_STEP = "--training.log_every_steps=1"


def test_two_ranks_see_the_losses_and_reach_the_metrics_of_one(prepared: Path, train: Train, tmp_path: Path):
    alone = train(f"{EVERY_STEP} --training.max_steps=10", "alone")
    done = run_command(
        "train", *tiny_settings(prepared, tmp_path, "pair"), "--ranks=2", EVERY_STEP, "--training.max_steps=10"
    )
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "pair") == pytest.approx(losses_of(alone), abs=1e-6)
    assert metrics_of(tmp_path / "pair")["test/auc"] == pytest.approx(metrics_of(alone)["test/auc"], abs=1e-4)
    assert "test" in done.stdout
    assert str(tmp_path / "pair" / "report.html") in done.stdout
    checkpoint = str(tmp_path / "pair")
    assert main(["evaluate", checkpoint, f"--out={tmp_path / 'again'}", "--eval_batch_size=500"]) == 0
    assert metrics_of(tmp_path / "again")["test/auc"] == pytest.approx(
        metrics_of(tmp_path / "pair")["test/auc"], abs=1e-6
    )


def test_a_run_leaves_settings_plan_log_scores_metrics_and_report(train: Train, prepared: Path):
    run = train("--training.eval_every_steps=10 --training.log_every_steps=5")
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "plan.txt", "log.jsonl", "scores", "tensorboard", "checkpoints", "metrics.json"} <= names
    assert {"report.html", "report.md", "report.json"} <= names
    metrics = metrics_of(run)
    scores = pq.read_table(run / "scores" / "test")
    assert (
        scores.num_rows
        == metrics["test/num_samples"]
        == json.loads((prepared / "manifest.json").read_text())["splits"]["test"]["num_rows"]
    )
    assert {"test/auc", "test/logloss", "test/ne", "val/auc", "data/best_auc", "perf/samples_per_s"} <= set(metrics)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"train/loss", "lr/sparse", "lr/dense", "perf/samples_per_s", "time/data_ms", "memory/rss_gib"} <= set(
        rows[0]
    )
    assert any("eval/auc" in row for row in rows)


LEARNING = ["--model.embedding_init_scale=0.01", "--optimizer.sparse.lr=0.05"]


def test_training_learns_the_planted_signal(learnable: Path, tmp_path: Path):
    # One pass over 24,000 rows reaches 0.738 of a possible 0.803 here; 3,000 test rows have a standard error of 0.01.
    assert main(["train", *tiny_settings(learnable, tmp_path, "run"), *LEARNING]) == 0
    metrics = metrics_of(tmp_path / "run")
    assert 0.68 < metrics["test/auc"] < metrics["data/best_auc"] + 0.02


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(train: Train):
    whole = train(f"{EVERY_STEP} --training.max_steps=12", "whole")
    train(f"{EVERY_STEP} --training.max_steps=5", "first")
    rest = train(f"{EVERY_STEP} --training.max_steps=12 --resume_from={whole.parent / 'first'}", "rest")
    assert losses_of(rest) == losses_of(whole)[5:]
    for split in ("val", "test"):
        before, after = (pq.read_table(run / "scores" / split) for run in (whole, rest))
        assert before.equals(after)


def test_a_run_never_touches_an_earlier_one_of_its_name(train: Train):
    run = train("--training.max_steps=2")
    before = (run / "metrics.json").read_bytes()
    train("--training.max_steps=3")
    assert (run / "metrics.json").read_bytes() == before
    assert (run.parent / "run-2" / "metrics.json").is_file()


def test_training_stops_at_the_target_auc(learnable: Path, tmp_path: Path):
    settings = "--training.num_epochs=5 --training.eval_every_steps=10 --training.stop_at_auc=0.55"
    assert main(["train", *tiny_settings(learnable, tmp_path, "run"), *LEARNING, *settings.split()]) == 0
    metrics = metrics_of(tmp_path / "run")
    assert metrics["val/auc"] >= 0.55
    assert metrics["train/steps"] in range(
        10, 101, 10
    )  # within the first epoch, of 100 steps, right after an evaluation


def test_random_data_train_without_a_file_and_say_that_half_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = "--data.source=random --data.random.num_rows=5000 --data.random.table_sizes=[30,20] --data.random.num_lookups=[3]"
    arguments = ["train", *tiny_settings(Path("unused"), tmp_path, "random"), *settings.split()]
    assert main([*arguments, "--data.random.fixed_num_lookups=false"]) == 0
    assert "an AUC of 0.5 is the right answer" in capsys.readouterr().out
    metrics = metrics_of(tmp_path / "random")
    # 500 test rows: the standard error of the AUC of a coin is about 0.026; four of them.
    assert metrics["test/auc"] == pytest.approx(0.5, abs=0.11)


def test_cross_interaction_with_constraints_on_two_ranks(prepared: Path, tmp_path: Path):
    done = run_command(
        "train",
        *tiny_settings(prepared, tmp_path, "cross"),
        "--ranks=2",
        "--training.max_steps=4",
        "--model.ranker=dcnv2",
        "--model.embedding_dims.C3=8",
        "--sharding.sharding_types=[row_wise]",
    )
    assert done.returncode == 0, done.stderr
    assert "row_wise" in (tmp_path / "cross" / "plan.txt").read_text()
    assert "data_parallel" not in (tmp_path / "cross" / "plan.txt").read_text()


def test_a_mistake_on_two_ranks_is_said_once_and_ends_all(prepared: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(prepared, broken)
    part = next((broken / "train").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-2000])
    done = run_command("train", *tiny_settings(broken, tmp_path, "run"), "--ranks=2")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("shardline: ") == 1
    assert "Traceback" not in done.stderr
    assert part.name in done.stderr


def test_a_killed_rank_ends_the_others_with_a_message(prepared: Path, tmp_path: Path):
    job, ranks = _training(prepared, tmp_path)
    ranks[1].send_signal(signal.SIGKILL)
    _, said = job.communicate(timeout=30)
    assert job.returncode == 1
    assert "was killed by SIGKILL" in said
    assert not [rank for rank in ranks if rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_launcher_leaves_no_rank_behind(prepared: Path, tmp_path: Path):
    job, ranks = _training(prepared, tmp_path)
    job.kill()
    job.wait()
    assert psutil.wait_procs(ranks, timeout=30)[1] == []


def test_ctrl_c_ends_all_ranks_and_says_so(prepared: Path, tmp_path: Path):
    job, ranks = _training(prepared, tmp_path)
    os.killpg(job.pid, signal.SIGINT)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert psutil.wait_procs(ranks, timeout=30)[1] == []


def _training(prepared: Path, runs_dir: Path) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """A job that trains for very long, in a session of its own, and its two ranks, once its log has a first row."""
    job = subprocess.Popen(
        command("train", *tiny_settings(prepared, runs_dir, "long"), "--ranks=2", "--training.num_epochs=100000"),
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    log = runs_dir / "long" / "log.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and job.poll() is None:
        if log.is_file() and log.read_text():
            return job, psutil.Process(job.pid).children()
        time.sleep(0.2)
    pytest.fail(f"training did not start: exit code {job.poll()}")


def test_a_diverging_run_stops_with_what_to_change(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = ["--optimizer.dense.algorithm=sgd", "--optimizer.dense.lr=1e30", "--training.log_every_steps=1"]
    assert main(["train", *tiny_settings(prepared, tmp_path, "run"), *settings]) == 2
    assert "optimizer.dense.lr" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_full_disk_stops_the_job_with_a_message(
    small_disk: Callable[[str], Path], prepared: Path, capsys: pytest.CaptureFixture[str]
):
    disk = small_disk("300k")  # room for settings and log, not for a checkpoint
    assert main(["train", *tiny_settings(prepared, disk, "run"), "--training.max_steps=2"]) == 2
    said = capsys.readouterr().err
    assert "could not save a checkpoint under" in said
    assert "MiB are free" in said
    assert not list(disk.glob("run/checkpoints/step-*"))
