"""Averages, plateaus, patience, bfloat16 and micro-batches in whole jobs, and through an interruption."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from models.build import build_ranker
from pipeline.checkpointing.export import export
from pipeline.checkpointing.meta import read_meta
from pipeline.checkpointing.tensors import read_averages
from pipeline.cli import main
from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.training.optimizers import attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.apply import shard
from tests.pipeline.forked_ranks import run_on_forked_ranks
from tests.pipeline.job_runs import losses_of, metrics_of, tiny_settings
from tests.pipeline.test_checkpoint_jobs import equal, weights_of
from tests.pipeline.test_optimizers import ADAM
from tests.pipeline.test_optimizers import train as train_steps
from tests.sharding_plans.test_guards import plan_for
from tests.sharding_plans.twin_training import MODEL, NUM_STEPS, SCHEMA, SEED

Train = Callable[..., Path]
ALL_AT_ONCE = (
    "--training.log_every_steps=1 --training.eval_every_steps=2 --training.precision=bf16 --training.micro_batches=2 "
    "--training.watch=logloss --training.min_gain=5 --schedule.kind=plateau --schedule.patience=1 --schedule.factor=0.5 "
    "--optimizer.dense.ema_decay=0.9 --optimizer.dense.clip_norm=0.5 --loss.label_smoothing=0.05 --model.dropout=0.2"
)


def rates_of(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["lr/sparse"] for row in rows if "lr/sparse" in row]


def test_with_every_setting_a_resumed_run_is_bit_for_bit_the_run_that_never_stopped(train: Train) -> None:
    whole = train(f"{ALL_AT_ONCE} --training.max_steps=9", "whole")
    train(f"{ALL_AT_ONCE} --training.max_steps=5", "first")
    rest = train(f"{ALL_AT_ONCE} --training.max_steps=9 --resume_from={whole.parent / 'first'}", "rest")

    assert losses_of(rest) == losses_of(whole)[5:]
    assert rates_of(rest) == rates_of(whole)[5:]
    assert rates_of(whole) == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.025] * 2 + [0.0125])  # cuts at 4, 6 and 8
    assert equal(weights_of(rest, 9), weights_of(whole, 9))
    assert metrics_of(rest)["test/logloss"] == metrics_of(whole)["test/logloss"]
    stalls = [read_meta(run / "checkpoints" / "step-00000009").stall for run in (whole, rest)]
    assert stalls[0] == stalls[1]
    assert stalls[0]["cuts"] == 3


def test_averaged_weights_are_what_evaluations_score_with_and_exports_hold(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averaged = train("--training.max_steps=8 --optimizer.dense.ema_decay=0.99", "averaged")
    plain = train("--training.max_steps=8", "plain")
    checkpoint = averaged / "checkpoints" / "step-00000008"
    averages = read_averages(checkpoint)

    assert losses_of(averaged) == losses_of(plain)
    assert metrics_of(averaged)["test/logloss"] != metrics_of(plain)["test/logloss"]
    assert (
        main(["evaluate", str(averaged), f"--out={tmp_path / 'again'}", "--device=cpu", "--eval_batch_size=500"]) == 0
    )
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["test/logloss"] == pytest.approx(
        metrics_of(averaged)["test/logloss"], abs=1e-12
    )
    export(checkpoint, tmp_path / "ranker.pt")
    exported = torch.load(tmp_path / "ranker.pt", weights_only=True)
    name = next(name for name in exported if name.endswith("over_arch.0.weight"))
    assert torch.equal(exported[name], averages[f"ranker.{name}"])


def test_training_ends_when_patience_does(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("--training.eval_every_steps=2 --training.patience=2 --training.min_gain=0.5")

    stopped_at = max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))
    assert stopped_at == 6  # the first evaluation is the measure, the second and third bring no gain
    assert "no gain in val auc over 2 evaluations" in json.dumps(json.loads((run / "report.json").read_text()))


def test_a_compiled_run_has_the_losses_of_any_other(train: Train) -> None:
    compiled = train(
        "--training.log_every_steps=1 --training.max_steps=8 --training.compile=true --profile", "compiled"
    )
    plain = train("--training.log_every_steps=1 --training.max_steps=8", "plain")

    assert losses_of(compiled) == pytest.approx(losses_of(plain), abs=1e-6)
    kinds = json.loads((compiled / "profile" / "profile.json").read_text())["results"]["kinds_ms"]
    assert kinds["compiled loops"] > 0


def test_two_ranks_train_compiled_loops_as_one_rank_trains_without(
    train: Train, prepared: Path, tmp_path: Path
) -> None:
    plain = train("--training.log_every_steps=1 --training.max_steps=8", "plain")
    steps = ["--training.log_every_steps=1", "--training.max_steps=8", "--training.compile"]
    settings = [*tiny_settings(prepared, tmp_path, "compiled"), *steps]
    said = tmp_path / "said"

    assert run_on_forked_ranks(["train", *settings], 2, said) == [0, 0], said.read_text()
    assert losses_of(tmp_path / "compiled") == pytest.approx(losses_of(plain), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "compiler", "reason"),
    [
        (["--training.precision=bf16"], "g++", "training.precision is bf16"),
        (["--model.ranker=wide_and_deep"], "g++", "no dot interaction"),
        ([], "no-such-compiler", "the C++ compiler no-such-compiler is not there"),
    ],
)
def test_what_cannot_be_compiled_is_said_before_anything_is_written(
    settings: list[str],
    compiler: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", compiler)
    command = ["train", "--data.source=random", "--device=cpu", f"--runs_dir={tmp_path}", "--training.compile=true"]

    assert main([*command, *settings]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def losses_by_slices(slices: list[int]) -> list[list[float]]:
    """On a rank: local losses of a sharded DLRM whose arch computes the batch in so many slices."""
    found = []
    sparse = SparseOptimizerConfig(algorithm="row_wise_adagrad", lr=0.05, eps=1e-3)
    for num_slices in slices:
        ranker = build_ranker(MODEL, SCHEMA, seed=SEED, num_slices=num_slices)
        attach_sparse_optimizer(ranker, sparse)
        plan = plan_for(ranker, "row_wise", "table_wise", "data_parallel", "row_wise", num_ranks=2, ranks_per_host=2)
        model = shard(ranker, plan, torch.device("cpu"), seed=SEED)
        found.append(train_steps(model, build_optimizer(model, sparse, ADAM), range(NUM_STEPS)))
    dist.barrier()
    return found


def test_a_batch_in_slices_trains_like_the_batch_at_once(run_on_ranks: Callable[..., list[Any]]) -> None:
    """With row-wise Adagrad and Adam, for which updates of parts would not add up to the update of the whole."""
    for at_once, *in_slices in run_on_ranks(2, losses_by_slices, [1, 3, 16]):
        for losses in in_slices:
            assert losses == pytest.approx(at_once, abs=1e-6)


def test_scores_are_corrected_by_the_share_of_negatives_that_preparing_kept(tmp_path: Path) -> None:
    raw, data = tmp_path / "rows.tsv", tmp_path / "rows"
    assert main(["generate", "criteo-like", "--num_rows=4000", f"--output={raw}", "--cardinality_scale=0.001"]) == 0
    quarter = ["--negative_sampling_rate=0.25", "--show_progress=false"]
    assert main(["prepare", f"--source={raw}", f"--output={data}", *quarter]) == 0
    for name, more in (("corrected", []), ("as_trained", ["--loss.negatives_kept=1"])):
        settings = tiny_settings(data, tmp_path, name)
        assert main(["train", *settings, "--training.num_epochs=3", *more]) == 0

    corrected, as_trained = (metrics_of(tmp_path / name) for name in ("corrected", "as_trained"))
    checkpoint = next((tmp_path / "corrected" / "checkpoints").glob("step-*"))
    assert read_meta(checkpoint).config["loss"]["negatives_kept"] == 0.25
    assert corrected["test/auc"] == pytest.approx(as_trained["test/auc"], abs=1e-4)  # rounding may tie scores
    assert abs(corrected["test/calibration"] - 1) < 0.25 < as_trained["test/calibration"] - 1
