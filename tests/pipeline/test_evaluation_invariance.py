"""One checkpoint evaluated on 1, 2 and 4 ranks, under three plans, on 10,007 rows and on 3: every row once, one result."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pipeline.assembly import assemble, choose_plan
from pipeline.checkpointing.choosing import last_good
from pipeline.checkpointing.meta import read_meta
from pipeline.checkpointing.tensors import load_weights
from pipeline.cli import main
from pipeline.config import TrainConfig
from pipeline.evaluating.evaluation import evaluate
from pipeline.ranks import Ranks
from pipeline.settings import from_plain
from pipeline.sources import open_source
from sharding_plans.applying.apply import shard
from tests.pipeline.job_runs import tiny_settings

PLANS = ("table_wise", "row_wise", "column_wise")
BATCH_ROWS = 4000


def prepare(directory: Path, num_rows: int, name: str) -> Path:
    """`num_rows` rows over two days, ids hashed into tables of one size; half of the second day is the test."""
    generate = ["generate", "criteo-like", f"--num_rows={num_rows}", "--num_days=2", f"--output={directory / name}-raw"]
    assert main([*generate, "--cardinality_scale=0.001"]) == 0
    source, output = f"--source={directory / name}-raw", f"--output={directory / name}"
    settings = ["--split.by=day", "--ids=hash", "--table_sizes=[200]", "--show_progress=false"]
    assert main(["prepare", source, output, *settings]) == 0
    return directory / name


def metrics_under_plans(run: str, data: list[str]) -> list[dict[str, float]]:
    """Metrics on the test rows of each dataset under each plan, on this rank."""
    ranks = Ranks(
        rank=dist.get_rank(),
        num_ranks=dist.get_world_size(),
        local_num_ranks=dist.get_world_size(),
        device=torch.device("cpu"),
    )
    checkpoint = last_good(Path(run))
    trained = from_plain(TrainConfig, read_meta(checkpoint).config, run)
    results = []
    for sharding_type in PLANS:
        for path in data:
            settings = replace(
                trained,
                data=replace(trained.data, path=path),
                sharding=replace(trained.sharding, sharding_types=(sharding_type,)),
            )
            source = open_source(settings.data, settings.training.seed)
            task = assemble(settings, source, "cpu")
            planned = choose_plan(settings.sharding, task, source.schema, BATCH_ROWS, ranks)
            model = shard(task, planned.plan, ranks.device, seed=0)
            load_weights(checkpoint, model)
            results.append(evaluate(model, source.eval_batches("test", BATCH_ROWS, ranks), ranks).metrics())
    return results


def test_ranks_and_plans_do_not_change_an_evaluation(run_on_ranks, tmp_path):
    data = [prepare(tmp_path, 4 * num_rows, f"rows-{num_rows}") for num_rows in (10_007, 3)]
    wide = [
        "--optimizer.sparse.algorithm=adagrad",
        "--model.embedding_dim=8",
        "--model.dense_arch=[8,8]",
        "--training.max_steps=20",
    ]
    assert main(["train", *tiny_settings(data[0], tmp_path, "run"), *wide]) == 0
    paths = [str(path) for path in data]
    found = {num: run_on_ranks(num, metrics_under_plans, str(tmp_path / "run"), paths) for num in (1, 2, 4)}
    reference = found[1][0][:2]
    assert [item["num_samples"] for item in reference] == [10_007, 3]
    assert reference[0]["auc"] > 0.55
    for on_ranks in found.values():
        for metrics in on_ranks:
            for item, expected in zip(metrics, reference * len(PLANS), strict=True):
                assert item == pytest.approx(expected, abs=1e-9, nan_ok=True)
