"""What FBGEMM's fused kernels really do with an algorithm and its settings, tried on the CPU and compared with arithmetic."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
import torch.distributed as dist
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    SplitTableBatchedEmbeddingBagsCodegen,
    WeightDecayMode,
)
from torch import Tensor, nn
from torchrec.distributed.utils import optimizer_type_to_emb_opt_type

from data.errors import ConfigError
from models.build import build_ranker
from pipeline.optimizer_config import DenseOptimizerConfig, FusedAlgorithmName, SparseOptimizerConfig
from pipeline.training.optimizers import _fused_settings, attach_sparse_optimizer
from sharding_plans.applying.apply import initialise_unsharded
from sharding_plans.guards.guards import changed_by, check_fused_optimizer
from sharding_plans.tables.fused_algorithms import ALGORITHMS, CPU_ALGORITHMS
from sharding_plans.types import SPLITS_COLUMNS
from tests.pipeline.test_optimizers import sharded_dlrm
from tests.sharding_plans.planning import tables
from tests.sharding_plans.twin_training import MODEL, NUM_STEPS, SCHEMA, SEED, slice_of_step

RunOnRanks = Callable[..., list[Any]]


def one_row_after(algorithm: str, **settings: Any) -> Tensor:
    """The row [1, 2, 3, 4], looked up once, after a step on the gradient [1, 1, 1, 2] at lr 0.5 and eps 1."""
    table = SplitTableBatchedEmbeddingBagsCodegen(
        [(1, 4, EmbeddingLocation.HOST, ComputeDevice.CPU)],
        optimizer=optimizer_type_to_emb_opt_type(ALGORITHMS[algorithm].optimizer),  # pyright: ignore[reportArgumentType]
        **{"learning_rate": 0.5, "eps": 1.0, **settings},
    )
    weight = table.split_embedding_weights()[0]
    weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    table(torch.tensor([0]), torch.tensor([0, 1])).backward(torch.tensor([[1.0, 1.0, 1.0, 2.0]]))
    return weight[0].detach()


def test_names_in_the_settings_are_those_of_the_algorithms() -> None:
    assert get_args(FusedAlgorithmName) == tuple(ALGORITHMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_cpu_kernels_run_what_the_table_says_they_run(algorithm: str) -> None:
    if algorithm not in CPU_ALGORITHMS:
        with pytest.raises(AssertionError, match="not supported in CPU mode"):
            one_row_after(algorithm)
        return
    gradient = torch.tensor([1.0, 1.0, 1.0, 2.0])
    sums = {"sgd": None, "adagrad": gradient.square(), "row_wise_adagrad": torch.tensor(7 / 4)}[algorithm]
    step = gradient if sums is None else gradient / (sums.sqrt() + 1.0)

    torch.testing.assert_close(one_row_after(algorithm), torch.tensor([1.0, 2.0, 3.0, 4.0]) - 0.5 * step)


@pytest.mark.parametrize("algorithm", CPU_ALGORITHMS)
@pytest.mark.parametrize("mode", [WeightDecayMode.L2, WeightDecayMode.DECOUPLE])
def test_the_cpu_kernels_ignore_weight_decay_so_it_is_refused(algorithm: str, mode: WeightDecayMode) -> None:
    decayed = one_row_after(algorithm, weight_decay=0.5, weight_decay_mode=mode)

    torch.testing.assert_close(decayed, one_row_after(algorithm))
    with pytest.raises(ConfigError, match=r"weight_decay is 0\.5, which FBGEMM's fused .* ignores on cpu"):
        check_fused_optimizer(algorithm, "cpu", momentum=0.0, weight_decay=0.5)


def test_l2_decay_is_for_row_wise_adagrad_on_cuda() -> None:
    check_fused_optimizer("row_wise_adagrad", "cuda", momentum=0.0, weight_decay=0.1, weight_decay_mode="l2")
    with pytest.raises(ConfigError, match="It applies decoupled decay"):
        check_fused_optimizer("lamb", "cuda", momentum=0.0, weight_decay=0.1, weight_decay_mode="l2")


def test_row_wise_adagrad_is_told_how_to_decay() -> None:
    """Its kernel, given weight decay without a mode, decays nothing."""
    settings = _fused_settings(SparseOptimizerConfig(weight_decay=0.1, weight_decay_mode="l2"))

    assert settings["weight_decay_mode"] is WeightDecayMode.L2


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if ALGORITHMS[name].is_lazy])
def test_lazy_algorithms_keep_tables_from_being_data_parallel_and_from_column_splits(algorithm: str) -> None:
    module = tables(("a", 40, 16))
    attach_sparse_optimizer(module, SparseOptimizerConfig(algorithm=algorithm), "cuda")  # pyright: ignore[reportArgumentType]

    columns = set() if algorithm == "adam" else set(SPLITS_COLUMNS)
    assert set(changed_by(module)) == columns | {"data_parallel"}


def test_torchrec_cannot_read_the_state_of_lars() -> None:
    """Why LARS_SGD is not offered."""
    table = SplitTableBatchedEmbeddingBagsCodegen.__new__(SplitTableBatchedEmbeddingBagsCodegen)
    nn.Module.__init__(table)
    table.optimizer = EmbOptimType.LARS_SGD
    table.split_optimizer_states = lambda: []  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(NotImplementedError, match="lars_sgd"):
        table.get_optimizer_state()


LIMIT = 5e-4
CLIPPED = SparseOptimizerConfig(algorithm="sgd", lr=0.5, max_gradient=LIMIT)
DENSE = DenseOptimizerConfig(algorithm="sgd", lr=0.1, clip_norm=0.05, clip_value=0.03)
PLANS = [
    ("row_wise", "column_wise", "table_wise", "table_row_wise"),
    ("grid_shard", "table_wise", "row_wise", "table_wise"),
]


def clipped_losses(num_steps: int) -> list[list[float]]:
    """On a rank: its local losses under each plan."""
    found = []
    for types in PLANS:
        model, optimizer = sharded_dlrm(types, CLIPPED, DENSE)
        losses = []
        for step in range(num_steps):
            dense, sparse, labels = slice_of_step(step, dist.get_rank(), dist.get_world_size())
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(model(dense, sparse), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found.append(losses)
    return found


def losses_clipped_by_hand(limit: float | None, dense_limits: bool) -> list[float]:
    """The same steps on one process without shards: pooled gradients clamped, dense gradients clamped and scaled by hand."""
    model = build_ranker(MODEL, SCHEMA, device="cpu", seed=SEED)
    initialise_unsharded(model, SEED)
    tables = list(model.ebc.parameters())
    others = [weight for name, weight in model.named_parameters() if not name.startswith("ebc.")]

    bound = float("inf") if limit is None else limit

    def clamp(module: nn.Module, arguments: Any, output: Any) -> None:
        output.values().register_hook(lambda gradient: gradient.clamp(-bound, bound))

    model.ebc.register_forward_hook(clamp)
    losses = []
    for step in range(NUM_STEPS):
        dense, sparse, labels = slice_of_step(step)
        loss = nn.functional.binary_cross_entropy_with_logits(model(dense, sparse), labels)
        model.zero_grad()
        loss.backward()
        gradients = [weight.grad for weight in others]
        if dense_limits:
            gradients = [gradient.clamp(-0.03, 0.03) for gradient in gradients]  # pyright: ignore[reportOptionalMemberAccess]
            norm = sum(gradient.square().sum() for gradient in gradients) ** 0.5
            gradients = [gradient * min(1.0, 0.05 / norm) for gradient in gradients]
        with torch.no_grad():
            for weight in tables:
                weight -= 0.5 * weight.grad  # pyright: ignore
            for weight, gradient in zip(others, gradients, strict=True):
                weight -= 0.1 * gradient  # pyright: ignore
        losses.append(loss.item())
    return losses


def test_clipping_on_two_ranks_is_clipping_by_hand_on_one(run_on_ranks: RunOnRanks) -> None:
    ranks = torch.tensor(run_on_ranks(2, clipped_losses, NUM_STEPS))
    expected = losses_clipped_by_hand(LIMIT, dense_limits=True)

    for losses in ranks.mean(dim=0).tolist():
        assert losses == pytest.approx(expected, abs=1e-6)
    for without in (losses_clipped_by_hand(None, dense_limits=True), losses_clipped_by_hand(LIMIT, dense_limits=False)):
        assert abs(without[-1] - expected[-1]) > 1e-4  # both limits were felt


def test_clipped_lookups_keep_tables_from_being_data_parallel() -> None:
    module = tables(("a", 40, 16))
    attach_sparse_optimizer(module, replace(CLIPPED))

    assert "max_gradient" in changed_by(module)["data_parallel"]


def iterations_after_setting_the_step() -> set[int]:
    model, optimizer = sharded_dlrm(
        ("table_wise", "row_wise", "table_wise", "row_wise"), SparseOptimizerConfig(), DENSE
    )
    optimizer.set_optimizer_step(7)
    kernels: list[Any] = [kernel for lookup in model.module.ebc._lookups for kernel in lookup.modules()]
    return {int(one.iter) for one in kernels if isinstance(one, SplitTableBatchedEmbeddingBagsCodegen)}  # pyright: ignore


def test_a_resumed_run_tells_the_kernels_its_step(run_on_ranks: RunOnRanks) -> None:
    """Adam and LAMB divide by 1 - beta ** step, and TorchRec saves no step."""
    assert run_on_ranks(1, iterations_after_setting_the_step) == [{7}]
