"""Measuring plans on live ranks: cut steps compute what whole ones do; records say what was sent, held and spent."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from data.config import RandomConfig
from models.config import ModelConfig
from pipeline.assembly import assemble, looked_up
from pipeline.config import DataConfig, OptimizerConfig, TrainConfig, TrainingConfig
from pipeline.measuring.live_plan import fresh
from pipeline.measuring.parted_step import PartedStep
from pipeline.measuring.plan_measurement import Steps, measure_plan
from pipeline.optimizer_config import SparseOptimizerConfig
from pipeline.ranks import Ranks
from pipeline.sources import open_source
from pipeline.training.optimizers import build_optimizer
from sharding_plans.applying.apply import local_pieces, shard
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_conversion import to_sharding_plan
from sharding_plans.files.scored_plans import make_plan_file
from sharding_plans.files.wire_bytes import sent_bytes_by_rank
from sharding_plans.machines.hardware import shipped_profile
from sharding_plans.measuring.measurement import EMBEDDING_PARTS, PARTS, Measurement
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.tables.from_model import describe_tables

KINDS = ("table_wise", "row_wise", "column_wise", "data_parallel", "table_row_wise", "table_column_wise", "grid_shard")
CONFIG = TrainConfig(
    data=DataConfig(
        source="random",
        random=RandomConfig(
            table_sizes=(40, 300, 50, 20, 90, 64, 100), num_lookups=(1, 3, 2, 1, 2, 1, 2), num_rows=640
        ),
    ),
    model=ModelConfig(embedding_dim=16, dense_arch=(8, 16), over_arch=(8, 1)),
    optimizer=OptimizerConfig(sparse=SparseOptimizerConfig(algorithm="adagrad")),
    training=TrainingConfig(global_batch_size=64),
)


def _plan(num_ranks: int) -> PlanFile:
    """One table of each sharding type."""
    source = open_source(CONFIG.data, 0)
    task = assemble(CONFIG, source, "cpu")
    model = describe_tables(task, {feature.name: feature.pooling_factor for feature in looked_up(task)})
    rules = {
        name: TableRule(sharding_types=(kind,), min_partition=8) for name, kind in zip(model.names, KINDS, strict=True)
    }
    request = PlanRequest(
        model=model,
        hardware=shipped_profile("cpu_host"),
        num_ranks=num_ranks,
        global_batch_size=CONFIG.training.global_batch_size,
        strategy=Strategy(name="each type once", tables=rules),
    )
    return make_plan_file(request)


def _ranks() -> Ranks:
    rank, num_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Ranks(rank=rank, num_ranks=num_ranks, local_num_ranks=num_ranks, device=torch.device("cpu"))


def cut_and_whole() -> tuple[list[float], list[float], float]:
    """On a rank: losses of five cut steps, of five whole ones from the same weights, and the weights' largest difference."""
    ranks, source = _ranks(), open_source(CONFIG.data, 0)
    batches = list(source.train_batches(CONFIG.training, ranks))[:5]
    losses, weights = [], []
    for is_cut in (True, False):
        task = assemble(CONFIG, source, "cpu")
        plan = to_sharding_plan(_plan(ranks.num_ranks), device="cpu", module=task)
        model = shard(task, plan, ranks.device, seed=0)
        optimizer = build_optimizer(model, CONFIG.optimizer.sparse, CONFIG.optimizer.dense)
        parted = PartedStep(model, optimizer, ranks.device)
        losses.append([])
        for batch in batches:
            if is_cut:
                with parted.cut():
                    loss = parted.run(fresh(batch))[0]
            else:
                optimizer.zero_grad()
                loss, _ = model(fresh(batch))
                loss.backward()
                optimizer.step()
            losses[-1].append(loss.item())
        found = model.state_dict()
        tables = [piece for name in found if "bags" in name for *_, piece in local_pieces(found[name])]
        weights.append([each.clone() for each in (*tables, *(found[name] for name in found if "bags" not in name))])
    gap = max((a - b).abs().max().item() for a, b in zip(*weights, strict=True) if a.numel())
    return losses[0], losses[1], gap


def measured() -> Measurement:
    ranks, source = _ranks(), open_source(CONFIG.data, 0)
    batches = list(source.train_batches(CONFIG.training, ranks))[:2]
    task = assemble(CONFIG, source, "cpu")
    steps = Steps(warm=1, measured=3)
    return measure_plan(_plan(ranks.num_ranks), task, batches, CONFIG, ranks, steps, name="each", data={})


def both() -> tuple[tuple[list[float], list[float], float], Measurement]:
    return cut_and_whole(), measured()


@pytest.fixture(scope="module")
def found(run_on_ranks: Callable[..., list[Any]]) -> list[tuple[tuple[list[float], list[float], float], Measurement]]:
    return run_on_ranks(2, both)


def test_steps_cut_into_parts_train_as_whole_steps_do(found: list[Any]):
    for (cut, whole, gap), _ in found:
        assert cut == pytest.approx(whole, abs=1e-7)
        assert gap < 1e-6


def test_all_ranks_have_the_same_record_of_every_part(found: list[Any]):
    first, second = (measurement for _, measurement in found)
    assert first.slowest_ms == second.slowest_ms
    assert set(first.slowest_ms) == set(PARTS)
    assert all(value > 0 for value in first.slowest_ms.values())
    assert first.embedding_ms == pytest.approx(sum(first.slowest_ms[part] for part in EMBEDDING_PARTS))
    assert all(rank.waiting_ms > 0 for rank in first.ranks)
    assert first.sharding_types == dict.fromkeys(KINDS, 1)


def test_bytes_sent_are_those_of_the_layout_and_bytes_held_those_of_the_estimate(found: list[Any]):
    plan, measurement = _plan(2), found[0][1]
    expected = sent_bytes_by_rank(plan)
    dense = 2 * 4 * 3000  # all-reduced gradients of the dense part: about this much, at most
    for rank in measurement.ranks:
        assert rank.sent_bytes == pytest.approx(expected[rank.rank], rel=0.25, abs=dense)
        assert rank.process_peak_bytes > rank.table_bytes > 0
    held = sum(rank.table_bytes + rank.state_bytes for rank in measurement.ranks)
    copies = sum(2 * table.spec.weight_bytes for table in plan.tables if table.sharding_type == "data_parallel")
    assert held == pytest.approx(sum(2 * table.spec.weight_bytes for table in plan.tables) + copies, rel=0.02)


def measured_on_gpu() -> Measurement:
    ranks, source = (
        Ranks(rank=0, num_ranks=1, local_num_ranks=1, device=torch.device("cuda", 0)),
        open_source(CONFIG.data, 0),
    )
    torch.cuda.set_device(ranks.device)
    batches = [batch.to(ranks.device) for batch in list(source.train_batches(CONFIG.training, ranks))[:2]]
    task = assemble(CONFIG, source, "cuda")
    plan = replace(_plan(1), hardware=shipped_profile("t4_16gb"))
    return measure_plan(plan, task, batches, CONFIG, ranks, Steps(warm=1, measured=3), name="gpu", data={})


@pytest.mark.gpu
def test_on_a_gpu_parts_are_timed_by_events_in_the_stream():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1)
    try:
        found = measured_on_gpu()
    finally:
        torch.distributed.destroy_process_group()
    assert all(found.slowest_ms[part] > 0 for part in ("lookup", "table_backward", "dense_forward"))
    assert found.ranks[0].table_bytes > 0
