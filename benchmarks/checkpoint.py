"""What a checkpoint costs: how long training pauses, sync and async, and how fast it writes beside a plain file.

Run as `python -m benchmarks.checkpoint`. One rank holds two tables with their Adagrad accumulators; every save is of all of
it. The pause is how long the call keeps training waiting; asynchronous saves are also timed until they are whole. Both
include flushing to the disk and a SHA-256 over every byte, as in a training run. The last line of output is JSON.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torchrec.distributed import DistributedModelParallel

from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import ModelConfig
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.meta import CheckpointMeta
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import training_state
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.ranks import Ranks, joined_ranks
from pipeline.training.optimizers import ShardedOptimizer, attach_sparse_optimizer, build_optimizer
from sharding_plans.applying.apply import shard
from sharding_plans.planning.planner import live_topology, make_plan
from sharding_plans.planning.sharders import EveryTypeSharder

ROWS, DIM, NUM_SAVES = 250_000, 64, 3
MB = 1_000_000


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir="."))
    try:
        with joined_ranks("cpu") as ranks:
            figures = _measured(folder, ranks)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:<28} {value:>10.1f}")
    print(json.dumps({"benchmark": "checkpoint", **figures}))


def _measured(folder: Path, ranks: Ranks) -> dict[str, float]:
    model, optimizer = _model()
    plain = statistics.median(_plain_write(folder / "plain") for _ in range(NUM_SAVES))
    sync_pause, sync_whole, size = _save_times(folder / "sync", False, model, optimizer, ranks)
    async_pause, async_whole, _ = _save_times(folder / "async", True, model, optimizer, ranks)
    return {
        "megabytes": size / MB,
        "sync_pause_ms": 1000 * sync_pause,
        "async_pause_ms": 1000 * async_pause,
        "async_whole_ms": 1000 * async_whole,
        "sync_mb_per_s": size / MB / sync_whole,
        "async_mb_per_s": size / MB / async_whole,
        "plain_file_mb_per_s": plain,
    }


def _model() -> tuple[DistributedModelParallel, ShardedOptimizer]:
    schema = Schema(
        dense=("d0", "d1"), sparse=tuple(SparseFeature(name=name, num_embeddings=ROWS) for name in ("a", "b"))
    )
    ranker = build_ranker(ModelConfig(embedding_dim=DIM, dense_arch=(64,), over_arch=(64, 1)), schema, seed=0)
    sparse = SparseOptimizerConfig(algorithm="adagrad")
    attach_sparse_optimizer(ranker, sparse)
    sharders = [EveryTypeSharder()]
    plan = make_plan(ranker, live_topology(1), local_batch_size=64, sharders=sharders).plan
    model = shard(ranker, plan, torch.device("cpu"), seed=0)
    return model, build_optimizer(model, sparse, DenseOptimizerConfig(algorithm="adam"))


def _save_times(
    folder: Path, asynchronous: bool, model: DistributedModelParallel, optimizer: ShardedOptimizer, ranks: Ranks
) -> tuple[float, float, int]:
    """Median seconds of the pause and until the checkpoint is whole, and its bytes."""
    saver = Saver(folder, CheckpointConfig(asynchronous=asynchronous, keep_last=1), ranks)
    pauses, wholes = [], []
    for step in range(1, NUM_SAVES + 1):
        started = time.perf_counter()
        saver.save(_meta(step), training_state(model, optimizer))
        pauses.append(time.perf_counter() - started)
        saver.wait()
        wholes.append(time.perf_counter() - started)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return statistics.median(pauses), statistics.median(wholes), size


def _plain_write(path: Path) -> float:
    """MB/s of writing as many bytes to one file in one go, flushed to the disk."""
    content = torch.rand(4 * ROWS * DIM).numpy().tobytes()
    started = time.perf_counter()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return len(content) / MB / seconds


def _meta(step: int) -> CheckpointMeta:
    blank: dict[str, Any] = {"config": {}, "plan": {}, "tables": {}, "versions": {}, "num_ranks": 1, "epoch": 0}
    prints = dict.fromkeys(("config_fingerprint", "data_fingerprint", "code_fingerprint", "plan_fingerprint"), "")
    return CheckpointMeta(step=step, rows_digest="", last_step_rows=0, **blank, **prints)


if __name__ == "__main__":
    main()
