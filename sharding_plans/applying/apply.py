"""From a plan to a sharded model on the live ranks, checked before and initialised after."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.types import ShardingPlan
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.optim.keyed import KeyedOptimizer
from torchrec.optim.optimizers import in_backward_optimizer_filter

from sharding_plans.applying.agreement import check_same_plan, fail_together
from sharding_plans.applying.alone import NotWrapped, SharderAlone
from sharding_plans.applying.initial_weights import uniform_shard, uniform_table
from sharding_plans.applying.table_updates import update_tables_by_all_threads
from sharding_plans.applying.whole_tables import look_up_whole_tables_directly
from sharding_plans.guards.guards import check_plan
from sharding_plans.machines.topology import launched_ranks_per_host
from sharding_plans.planning.quiet import quiet_torchrec
from sharding_plans.planning.sharders import EveryTypeSharder


@dataclass(frozen=True)
class TrainedParameters:
    """The three kinds of parameters of a sharded model, each in need of an optimizer of its own.

    `fused` updates the sharded tables during backward; `dense` and `data_parallel` map names to parameters that get
    gradients: the dense part, and the tables that every rank holds whole, which the fused optimizer does not reach.
    """

    fused: KeyedOptimizer
    dense: dict[str, nn.Parameter]
    data_parallel: dict[str, nn.Parameter]


def shard(module: nn.Module, plan: ShardingPlan, device: torch.device, *, seed: int) -> DistributedModelParallel:
    """The module with its tables sharded by the plan over the ranks of the default process group, ready to train.

    Tables lie on the meta device before; each rank allocates its shards only. Initial table weights are a function of
    (seed, table, row, column), so that they are equal under every plan; their range is the table config's. The dense part
    must already be there, made from the same seed on every rank. Raises PlanError on every rank alike where the plan fits
    neither the tables nor the ranks, where TorchRec would compute something else under it, or where the ranks' plans
    differ.
    """
    configs = dict(table_configs(module))
    check_same_plan(fail_together(lambda: _checked_fingerprint(module, plan, dist.get_world_size())))
    with quiet_torchrec(), torch.random.fork_rng(devices=[]):
        sharded = _sharded(module, plan, device)
    _initialise(sharded, configs, seed)
    update_tables_by_all_threads(sharded)
    look_up_whole_tables_directly(sharded)
    return sharded


def _sharded(module: nn.Module, plan: ShardingPlan, device: torch.device) -> DistributedModelParallel:
    if dist.get_world_size() > 1:
        return DistributedModelParallel(module, plan=plan, sharders=[EveryTypeSharder()], device=device)  # pyright: ignore[reportArgumentType]
    alone: Any = SharderAlone()
    return DistributedModelParallel(
        module, plan=plan, sharders=[alone], device=device, data_parallel_wrapper=NotWrapped()
    )


def trained_parameters(sharded: DistributedModelParallel) -> TrainedParameters:
    """The parameters of a sharded model, sorted by who updates them."""
    tables = {
        f"{path}.embedding_bags.{table}.weight".lstrip(".") for path, table in _data_parallel_tables(sharded.plan)
    }
    trained = {
        name: parameter
        for name, parameter in in_backward_optimizer_filter(sharded.named_parameters())
        if parameter.requires_grad
    }
    return TrainedParameters(
        fused=sharded.fused_optimizer,
        dense={name: parameter for name, parameter in trained.items() if name not in tables},
        data_parallel={name: parameter for name, parameter in trained.items() if name in tables},
    )


def initialise_unsharded(module: nn.Module, seed: int) -> None:
    """Give a model that is not sharded, its tables on a real device, the very weights that `shard` starts from."""
    weights = module.state_dict()
    for name, config in table_configs(module):
        low, high = config.get_weight_init_min(), config.get_weight_init_max()
        full = uniform_table(seed, config.name, config.num_embeddings, config.embedding_dim, low=low, high=high)
        weights[name].copy_(full)


def table_configs(module: nn.Module) -> Iterator[tuple[str, EmbeddingBagConfig]]:
    """Each table's parameter name, as in the state dict, and its config."""
    for path, child in module.named_modules():
        if isinstance(child, EmbeddingBagCollection):
            prefix = f"{path}." if path else ""
            for config in child.embedding_bag_configs():
                yield f"{prefix}embedding_bags.{config.name}.weight", config


def plan_fingerprint(plan: ShardingPlan) -> str:
    """Sha256 in hex over everything that a plan decides: equal plans, equal fingerprints."""
    tables = []
    for path, module_plan in plan.plan.items():
        for table, how in module_plan.items():  # pyright: ignore[reportAttributeAccessIssue]
            shards = how.sharding_spec.shards if how.sharding_spec else []
            pieces = [[list(s.shard_offsets), list(s.shard_sizes), str(s.placement)] for s in shards]
            tables.append([path, table, how.sharding_type, how.compute_kernel, list(how.ranks or []), pieces])
    return hashlib.sha256(json.dumps(sorted(tables)).encode()).hexdigest()


def _checked_fingerprint(module: nn.Module, plan: ShardingPlan, num_ranks: int) -> str:
    check_plan(module, plan, num_ranks=num_ranks, ranks_per_host=launched_ranks_per_host(num_ranks))
    return plan_fingerprint(plan)


def _data_parallel_tables(plan: ShardingPlan) -> Iterator[tuple[str, str]]:
    for path, module_plan in plan.plan.items():
        for table, how in module_plan.items():  # pyright: ignore[reportAttributeAccessIssue]
            if how.sharding_type == "data_parallel":
                yield path, table


@torch.no_grad()
def _initialise(sharded: DistributedModelParallel, configs: dict[str, EmbeddingBagConfig], seed: int) -> None:
    weights = sharded.state_dict()
    for name, config in configs.items():
        for rows, columns, tensor in local_pieces(weights[name]):
            uniform_shard(
                seed,
                config.name,
                rows=rows,
                columns=columns,
                dim=config.embedding_dim,
                low=config.get_weight_init_min(),
                high=config.get_weight_init_max(),
                out=tensor,
            )


def local_pieces(weight: Tensor | ShardedTensor) -> Iterator[tuple[tuple[int, int], tuple[int, int], Tensor]]:
    """Row range, column range and tensor of each piece of a table that this rank holds."""
    if not isinstance(weight, ShardedTensor):
        yield (0, weight.shape[0]), (0, weight.shape[1]), weight
        return
    for local in weight.local_shards():
        (row, column), (height, width) = local.metadata.shard_offsets, local.metadata.shard_sizes
        yield (row, row + height), (column, column + width), local.tensor
