"""Tables made smaller, pretrained and frozen in whole jobs: trained on one and two ranks, resumed, evaluated."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.checkpointing.meta import read_meta
from pipeline.checkpointing.tensors import read_whole
from pipeline.cli import main
from tests.pipeline.forked_ranks import run_on_forked_ranks
from tests.pipeline.job_runs import losses_of, metrics_of, tiny_settings
from tests.pipeline.test_checkpoint_jobs import equal, weights_of

C1 = "ranker.ebc.embedding_bags.C1.weight"


@pytest.fixture
def settings(prepared: Path, tmp_path: Path, train: Callable[..., Path]) -> str:
    """Quotient-remainder and mixed dimensions for large tables; C1 starts from a file and stays as it is."""
    rows = read_meta(train("--training.max_steps=1", "sizes") / "checkpoints" / "step-00000001").tables["C1"][0]
    np.save(tmp_path / "c1.npy", np.random.default_rng(1).normal(size=(rows, 8)))
    tables = {
        "quotient_remainder": {"operation": "mult", "threshold": 50},
        "mixed_dimensions": {"temperature": 0.3, "threshold": 50},
        "override": {
            "C1": {"pretrained": str(tmp_path / "c1.npy"), "frozen": True, "quotient_remainder": False, "width": 8}
        },
    }
    model = {"embedding_dim": 8, "dense_arch": [8, 8], "tables": tables}
    (tmp_path / "tables.yaml").write_text(yaml.safe_dump({"model": model}))
    return (
        f"--config={tmp_path / 'tables.yaml'} --model.embedding_dim=8 --model.dense_arch=[8,8] "
        "--training.log_every_steps=1 --checkpoint.every_steps=2"
    )


def test_a_run_with_smaller_and_frozen_tables_resumes_and_is_the_same_on_two_ranks(
    train: Callable[..., Path], settings: str, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(f"{settings} --training.max_steps=6", "whole")
    train(f"{settings} --training.max_steps=4", "first")
    rest = train(f"{settings} --training.max_steps=6 --resume_from={tmp_path / 'first'}", "rest")
    arguments = ["train", *tiny_settings(prepared, tmp_path, "two"), *settings.split(), "--training.max_steps=6"]
    assert run_on_forked_ranks(arguments, 2, tmp_path / "said") == [0, 0], (tmp_path / "said").read_text()

    shapes = read_meta(whole / "checkpoints" / "step-00000006").tables
    assert shapes["C3_q"][1] == 4
    assert shapes["C3_r"] == [4, 4]
    assert losses_of(rest) == losses_of(whole)[4:]
    assert equal(weights_of(rest, 6), weights_of(whole, 6))
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(whole), abs=1e-6)
    first, last = (read_whole(whole / "checkpoints" / f"step-0000000{step}", f"model.{C1}")[""] for step in (2, 6))
    assert torch.equal(first, last)
    torch.testing.assert_close(last, torch.from_numpy(np.load(tmp_path / "c1.npy")).float(), rtol=0, atol=0)
    assert main(["evaluate", str(whole), "--device=cpu", "--eval_batch_size=500", f"--out={tmp_path / 'again'}"]) == 0
    assert f"{metrics_of(whole)['test/auc']:.5f}" in capsys.readouterr().out
