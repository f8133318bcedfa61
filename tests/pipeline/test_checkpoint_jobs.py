"""Checkpoints in whole jobs: kept and removed, resumed in place, stopped in order, inspected and exported."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from data.manifest import Manifest
from models.build import build_ranker
from pipeline.checkpointing.meta import read_meta
from pipeline.checkpointing.tensors import read_whole
from pipeline.cli import main
from pipeline.config import TrainConfig
from pipeline.launch import EXIT_START_AGAIN
from pipeline.settings import from_plain
from tests.pipeline.forked_ranks import end, run_on_forked_ranks, start_ranks, wait_for
from tests.pipeline.job_runs import REPOSITORY, command, losses_of, metrics_of, tiny_settings

Train = Callable[..., Path]
EVERY_STEP = "--training.log_every_steps=1"
DROPOUT = f"{EVERY_STEP} --model.dropout=0.3 --model.embedding_dropout=0.2"


def steps_in(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


def weights_of(run: Path, step: int) -> dict[str, torch.Tensor]:
    return read_whole(run / "checkpoints" / f"step-{step:08d}", "")


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_last_checkpoints_and_the_best_are_kept(train: Train):
    settings = (
        "--training.num_epochs=2 --training.eval_every_steps=4 --checkpoint.every_steps=2 --checkpoint.keep_last=2"
    )
    run = train(settings)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best_step = max((row["eval/auc"], -row["step"]) for row in log if "eval/auc" in row)[1] * -1
    assert steps_in(run) == sorted({24, 26, best_step})
    last = read_meta(run / "checkpoints" / "step-00000026")
    assert last.best_step == best_step
    assert last.epoch == 2


def test_asynchronous_saving_writes_the_same_checkpoints(train: Train):
    beside = train("--training.max_steps=8 --checkpoint.every_steps=2 --checkpoint.asynchronous=true", "beside")
    at_once = train("--training.max_steps=8 --checkpoint.every_steps=2", "at_once")
    assert steps_in(beside) == steps_in(at_once) == [4, 6, 8]
    assert equal(weights_of(beside, 4), weights_of(at_once, 4))
    assert not equal(weights_of(beside, 4), weights_of(beside, 6))


def test_with_dropout_a_resumed_run_is_bit_for_bit_the_run_that_never_stopped(train: Train):
    whole = train(f"{DROPOUT} --training.max_steps=9", "whole")
    train(f"{DROPOUT} --training.max_steps=4", "first")
    rest = train(f"{DROPOUT} --training.max_steps=9 --resume_from={whole.parent / 'first'}", "rest")
    assert losses_of(rest) == losses_of(whole)[4:]
    assert equal(weights_of(rest, 9), weights_of(whole, 9))
    digests = [read_meta(run / "checkpoints" / "step-00000009").rows_digest for run in (whole, rest)]
    assert digests[0] == digests[1] != ""


def test_the_digest_of_rows_is_the_same_on_two_ranks(train: Train, prepared: Path, tmp_path: Path):
    alone = train("--training.max_steps=5", "alone")
    arguments = ["train", *tiny_settings(prepared, tmp_path, "pair"), "--training.max_steps=5"]
    assert run_on_forked_ranks(arguments, 2, tmp_path / "said") == [0, 0], (tmp_path / "said").read_text()[-2000:]
    metas = [read_meta(run / "checkpoints" / "step-00000005") for run in (alone, tmp_path / "pair")]
    assert metas[0].rows_digest == metas[1].rows_digest
    assert [meta.num_ranks for meta in metas] == [1, 2]


def test_a_run_goes_on_in_its_own_directory_and_once_finished_stays_as_it_is(
    train: Train, capsys: pytest.CaptureFixture[str]
):
    run = train(f"{EVERY_STEP} --training.max_steps=8 --checkpoint.every_steps=3 --resume=auto")
    losses = losses_of(run)
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-00000008")
    train(f"{EVERY_STEP} --training.max_steps=8 --checkpoint.every_steps=3 --resume=auto")
    assert f"going on from {run / 'checkpoints' / 'step-00000006'}" in capsys.readouterr().err
    assert losses_of(run) == losses
    before = (run / "metrics.json").read_bytes()
    train(f"{EVERY_STEP} --training.max_steps=8 --resume=auto")
    assert "is finished" in capsys.readouterr().out
    assert (run / "metrics.json").read_bytes() == before


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(train: Train, capsys: pytest.CaptureFixture[str]):
    run = train("--training.max_steps=6 --checkpoint.every_steps=2 --resume=auto")
    expected = weights_of(run, 6)
    (run / "metrics.json").unlink()
    data = run / "checkpoints" / "step-00000006" / "state" / "__0_0.distcp"
    data.write_bytes(data.read_bytes()[:-1])
    train("--training.max_steps=6 --checkpoint.every_steps=2 --resume=auto")
    assert "__0_0.distcp is damaged" in capsys.readouterr().err
    assert equal(weights_of(run, 6), expected)
    assert (run / "checkpoints" / "damaged-step-00000006").is_dir()


def test_with_nothing_but_damaged_checkpoints_nothing_is_started_anew(
    train: Train, prepared: Path, capsys: pytest.CaptureFixture[str]
):
    run = train("--training.max_steps=2 --resume=auto")
    (run / "metrics.json").unlink()
    (run / "checkpoints" / "step-00000002" / "checkpoint.json").write_text("{")
    settings = tiny_settings(prepared, run.parent, "run")
    assert main(["train", *settings, "--training.max_steps=2", "--resume=auto"]) == 2
    assert "no checkpoint that is whole" in capsys.readouterr().err
    assert (run / "checkpoints" / "step-00000002" / "checkpoint.json").read_text() == "{"


def test_rows_that_are_not_those_of_the_checkpoint_are_noticed(
    train: Train, prepared: Path, capsys: pytest.CaptureFixture[str]
):
    run = train("--training.max_steps=3")
    meta = run / "checkpoints" / "step-00000003" / "checkpoint.json"
    content = json.loads(meta.read_text())
    meta.write_text(json.dumps({**content, "last_step_rows": content["last_step_rows"] + 1}))
    code = main(["train", *tiny_settings(prepared, run.parent, "next"), f"--resume_from={run}"])
    assert code == 2
    assert "step 2 gives other rows now" in capsys.readouterr().err


def test_a_full_disk_stops_the_job_with_the_last_good_checkpoint_intact(
    small_disk: Callable[[str], Path], prepared: Path, capsys: pytest.CaptureFixture[str]
):
    disk = small_disk("1m")
    arguments = [
        "train",
        *tiny_settings(prepared, disk, "run"),
        "--checkpoint.every_steps=2",
        "--training.num_epochs=20",
    ]
    assert main([*arguments, "--checkpoint.keep_last=100"]) == 2
    assert "could not save a checkpoint" in capsys.readouterr().err
    steps = steps_in(disk / "run")
    assert steps
    assert main(["checkpoint", "verify", str(disk / "run" / "checkpoints" / f"step-{steps[-1]:08d}")]) == 0


def test_an_infinite_loss_names_step_rows_and_tables_and_keeps_the_last_checkpoint(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = ["--optimizer.dense.algorithm=sgd", "--optimizer.dense.lr=1e30", "--checkpoint.every_steps=1"]
    assert main(["train", *tiny_settings(prepared, tmp_path, "run"), *settings]) == 2
    said = capsys.readouterr().err
    assert "the training loss is nan at step" in said
    assert "Its batch there has 240 rows, by row id " in said
    assert "Table rows that are not finite: C1: " in said
    for path in (tmp_path / "run" / "checkpoints").glob("step-*"):
        assert all(torch.isfinite(tensor).all() for tensor in read_whole(path, "model.").values())


def test_inspect_verify_and_export(train: Train, tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str]):
    run = train("--training.max_steps=3")
    assert main(["checkpoint", "inspect", str(run)]) == 0
    said = capsys.readouterr().out
    assert "step          3 (0 epochs done)" in said
    assert "ranker.ebc.embedding_bags.C1.weight" in said
    assert main(["checkpoint", "verify", str(run)]) == 0
    assert main(["checkpoint", "export", str(run), f"--out={tmp_path / 'model.pt'}"]) == 0
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    config = from_plain(TrainConfig, read_meta(run / "checkpoints" / "step-00000003").config, "the checkpoint")
    ranker = build_ranker(config.model, Manifest.load(prepared).schema, device="cpu", seed=1)
    assert ranker.load_state_dict(weights).missing_keys == []
    assert equal(weights, {k.removeprefix("model.ranker."): v for k, v in weights_of(run, 3).items() if "model." in k})


def test_a_checkpoint_converts_to_the_pieces_of_another_plan(train: Train, tmp_path: Path):
    run = train("--training.max_steps=3")
    arguments = ["checkpoint", "convert", str(run), f"--out={tmp_path / 'other'}", "--ranks=2"]
    said = tmp_path / "said"
    codes = run_on_forked_ranks([*arguments, "--sharding_types=[row_wise]"], 2, said)
    assert codes == [0, 0], said.read_text()[-2000:]
    found = read_meta(tmp_path / "other" / "step-00000003")
    assert found.num_ranks == 2
    assert {how["sharding_type"] for how in found.plan.values()} == {"row_wise"}
    assert equal(read_whole(tmp_path / "other" / "step-00000003", ""), weights_of(run, 3))


def test_sigterm_saves_and_ends_well_and_the_run_goes_on_on_one_rank(prepared: Path, tmp_path: Path, train: Train):
    settings = tiny_settings(prepared, tmp_path, "run")
    arguments = ["train", *settings, EVERY_STEP, "--training.num_epochs=100000", "--resume=auto"]
    ranks = start_ranks(arguments, 2, tmp_path / "said")
    try:
        _wait_for_steps(tmp_path / "run", 3)
        os.kill(ranks[1].pid or 0, signal.SIGTERM)  # one rank is told; both stop at the same step
        # A host whose ranks were not told takes 0 for a run that is done: its torchrun would not go on without the other.
        assert wait_for(ranks, 60) == [EXIT_START_AGAIN, 0]
    finally:
        end(ranks)
    assert "stopped by SIGTERM; saved" in (tmp_path / "said").read_text()
    (step,) = steps_in(tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    run = train(f"{EVERY_STEP} --training.num_epochs=100000 --training.max_steps={step + 2} --resume=auto")
    assert metrics_of(run)["train/steps"] == step + 2


def test_a_rank_that_hangs_is_named_and_ends_the_job(prepared: Path, tmp_path: Path):
    settings = [*tiny_settings(prepared, tmp_path, "run"), EVERY_STEP, "--training.timeout_s=8"]
    ranks = start_ranks(["train", *settings, "--training.num_epochs=100000"], 2, tmp_path / "said")
    try:
        _wait_for_steps(tmp_path / "run", 2)
        os.kill(ranks[1].pid or 0, signal.SIGSTOP)
        assert wait_for(ranks[:1], 60) == [1]
    finally:
        end(ranks)
    assert f"rank 1 (process {ranks[1].pid} on " in (tmp_path / "said").read_text()
    assert "has been silent for" in (tmp_path / "said").read_text()


def test_the_launcher_starts_crashed_ranks_again_and_hands_on_sigterm(prepared: Path, tmp_path: Path):
    settings = [*tiny_settings(prepared, tmp_path, "run"), EVERY_STEP, "--training.num_epochs=100000", "--ranks=2"]
    more = ["--resume=auto", "--max_restarts=1", "--checkpoint.every_steps=2"]
    with (tmp_path / "said").open("w") as said:
        job = subprocess.Popen(command("train", *settings, *more), cwd=REPOSITORY, stderr=said, stdout=said)
    try:
        _wait_for_steps(tmp_path / "run", 5)
        children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        _wait_for(lambda: "going on from" in (tmp_path / "said").read_text())
        _wait_for_steps(tmp_path / "run", steps_in(tmp_path / "run")[-1] + 3)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=60) == 0
    finally:
        job.kill()
    assert "starting all ranks again (restart 1 of 1)" in (tmp_path / "said").read_text()
    assert "stopped by SIGTERM; saved" in (tmp_path / "said").read_text()


def test_scores_do_not_depend_on_how_often_a_run_was_stopped(train: Train):
    whole = train("--training.max_steps=6", "whole")
    for steps in (2, 4, 6):
        parts = train(f"--training.max_steps={steps} --resume=auto", "parts")
        if steps < 6:
            (parts / "metrics.json").unlink()
    assert pq.read_table(parts / "scores" / "test").equals(pq.read_table(whole / "scores" / "test"))


def test_max_restarts_needs_a_run_that_goes_on(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--max_restarts=2"]) == 2
    assert "max_restarts needs resume: auto" in capsys.readouterr().err


def _wait_for_steps(run: Path, number: int) -> None:
    def has_steps() -> bool:
        log = run / "log.jsonl"
        return log.is_file() and log.read_text().count("train/loss") >= number

    _wait_for(has_steps)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "training does not go on"
        time.sleep(0.05)
