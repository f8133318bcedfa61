"""The AUC in the training log: bounds over all ranks that hold the exact value, one window at a time."""

import json

import torch

from pipeline.metrics.summary import roc_auc
from pipeline.training.train_auc import TrainAuc


def rows(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(500, generator=generator)
    return logits, (torch.rand(500, generator=generator) < torch.sigmoid(logits)).float()


def windows_on_this_rank() -> list[dict[str, float]]:
    import torch.distributed as dist

    auc = TrainAuc(torch.device("cpu"))
    auc.add(*rows(dist.get_rank()))
    first = auc.take()
    auc.add(torch.zeros(3), torch.ones(3))
    one_class = auc.take()
    auc.add(torch.zeros(3), torch.full((3,), 0.5))
    return [first, one_class, auc.take()]


def test_each_window_has_the_auc_of_all_ranks_or_none(run_on_ranks):
    first, second = run_on_ranks(2, windows_on_this_rank)
    logits, labels = (torch.cat(columns) for columns in zip(rows(0), rows(1), strict=True))
    assert first == second
    assert first[0]["train/auc_low"] <= roc_auc(logits.numpy(), labels.numpy()) <= first[0]["train/auc_high"]
    assert first[0]["train/auc_high"] - first[0]["train/auc_low"] < 0.002
    assert first[1:] == [{}, {}]


def test_the_log_shows_the_bounds(train, capsys):
    run = train("--training.max_steps=6 --training.log_every_steps=3")
    training = [row for row in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if "train/loss" in row]
    assert [0 < row["train/auc_low"] <= row["train/auc_high"] < 1 for row in training] == [True, True]
    assert f"AUC {training[0]['train/auc_low']:.4f}-{training[0]['train/auc_high']:.4f}" in capsys.readouterr().err
