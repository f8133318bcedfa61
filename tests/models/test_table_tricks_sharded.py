"""Table tricks under three plans on two ranks, through checkpoints to another plan and back; stored and frozen for real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

from data.batch import Batch
from data.errors import DataError
from models.build import build_ranker
from models.config import ModelConfig
from models.table_config import TablesConfig
from pipeline.training.pretrained import load_pretrained
from tests.models.trick_twins import (
    LISTS,
    NUM_STEPS,
    PLANS,
    TRICKS,
    Learner,
    Trick,
    TwinLosses,
    rows_of,
    train_sharded,
    train_unsharded,
    write_pretrained,
)

RunOnRanks = Callable[..., list[Any]]
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tricks")
    write_pretrained(found)
    return found


@pytest.fixture(scope="module")
def sharded(run_on_ranks: RunOnRanks, directory: Path) -> list[dict[str, TwinLosses]]:
    return run_on_ranks(2, train_sharded, directory)


@pytest.mark.parametrize("name", TRICKS)
def test_sharded_losses_are_the_unsharded_ones(
    name: str, sharded: list[dict[str, TwinLosses]], directory: Path
) -> None:
    expected, learned = train_unsharded(TRICKS[name], directory)
    ranks = [rank[name] for rank in sharded]

    assert learned > 1000 * TOLERANCE
    for plan in PLANS:
        found = torch.stack([rank.by_plan[plan] for rank in ranks]).mean(dim=0)
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE, msg=lambda text, at=plan: f"{at}: {text}")
    moved = torch.stack([rank.moved for rank in ranks]).mean(dim=0)
    torch.testing.assert_close(moved, expected, rtol=0, atol=TOLERANCE)


def test_frozen_tables_keep_every_bit_under_every_plan(sharded: list[dict[str, TwinLosses]], directory: Path) -> None:
    assert [rank["frozen"].drift for rank in sharded] == [0.0, 0.0]
    frozen, free = (
        train_unsharded(Trick(tables), directory)[0] for tables in (TRICKS["frozen"].tables, TablesConfig())
    )
    assert (frozen - free).abs().max() > 1000 * TOLERANCE  # freezing is felt


def half_precision(plans: list[str]) -> tuple[list[torch.Tensor], set[torch.dtype]]:
    """On a rank: losses with fp16 tables, and the types that embedding weights are stored in."""
    losses, dtypes = [], set()
    for plan in plans:
        learner = Learner(Trick(TablesConfig(dtype="fp16")), PLANS[plan], Path())
        losses.append(learner.train(range(NUM_STEPS)))
        weights = learner.model.state_dict()
        dtypes |= {
            weight.dtype for name, weight in weights.items() if "embedding_bags.t" in name and "first" not in name
        }
    return losses, dtypes


def test_tables_in_half_precision_train_nearly_like_whole_ones_and_repeatably(
    run_on_ranks: RunOnRanks, directory: Path
) -> None:
    (first, dtypes), (second, _) = run_on_ranks(2, half_precision, ["rows", "rows", "mixed"])
    rows, again, mixed = ((a + b) / 2 for a, b in zip(first, second, strict=True))
    expected, _ = train_unsharded(Trick(), directory)

    assert dtypes == {torch.float16}
    assert torch.equal(rows, again)
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-3)
    assert not torch.equal(rows, expected)


@pytest.mark.parametrize("kind", ["columns", "lists"])
def test_pretrained_weights_come_from_parquet_too(kind: str, tmp_path: Path) -> None:
    ranker = build_ranker(ModelConfig(over_arch=(1,), ranker="mlp", embedding_dim=4), LISTS, device="cpu")
    wanted = np.arange(12, dtype=np.float32).reshape(3, 4)
    columns = {f"d{i}": wanted[:, i] for i in range(4)} if kind == "columns" else {"vector": list(wanted)}
    pq.write_table(pa.table(columns), tmp_path / "t0.parquet")

    load_pretrained(ranker, {"t0": str(tmp_path / "t0.parquet")})

    assert ranker.ebc.embedding_bags["t0"].weight.tolist() == wanted.tolist()  # pyright: ignore


def test_pretrained_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    ranker = build_ranker(ModelConfig(over_arch=(1,), ranker="mlp", embedding_dim=4), LISTS, device="cpu")
    np.save(tmp_path / "t0.npy", np.zeros((2, 4)))

    with pytest.raises(DataError, match=r"has shape \[2, 4\], but table t0 is \[3, 4\]"):
        load_pretrained(ranker, {"t0": str(tmp_path / "t0.npy")})
    with pytest.raises(DataError, match=r"weights of table t0 cannot be read"):
        load_pretrained(ranker, {"t0": str(tmp_path / "absent.npy")})


def pipelined_lookups(names: list[str]) -> list[int]:
    """On a rank: how many lookups a train pipeline fetches ahead, for each trick."""
    found = []
    for name in names:
        learner = Learner(TRICKS[name], PLANS["rows"], Path())
        pipeline = TrainPipelineSparseDist(
            _Pipelined(learner.model),
            learner.optimizer,
            torch.device("cpu"),
            execute_all_batches=True,
            pipeline_postproc=True,
        )
        dense, sparse, labels = rows_of(TRICKS[name], 0)
        batch = Batch(dense, sparse, labels, row_ids=torch.arange(len(labels)))
        pipeline.progress(iter([batch, batch]))
        found.append(len(pipeline._pipelined_modules))
    return found


class _Pipelined(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.module = model.module

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.module(batch.dense, batch.sparse)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.labels), logits


def test_train_pipelines_fetch_split_ids_ahead_like_others(run_on_ranks: RunOnRanks) -> None:
    assert run_on_ranks(1, pipelined_lookups, ["mean", "add", "position"]) == [[1, 1, 1]]
