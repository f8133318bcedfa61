"""From settings to optimizers: fused ones inside the tables' backward pass, dense ones beside, all in one."""

import inspect
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from fbgemm_gpu.split_table_batched_embeddings_ops_training import WeightDecayMode
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
from torchrec.distributed import DistributedModelParallel
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper

from models.sgd_in_backward import SgdInBackward
from pipeline.optimizer_config import DenseOptimizerConfig, SparseOptimizerConfig
from pipeline.training.averaging import WeightAverage
from pipeline.training.table_optimizer import TableOptimizer
from sharding_plans.applying.apply import TrainedParameters, table_configs, trained_parameters
from sharding_plans.applying.whole_tables import kept_in
from sharding_plans.guards.guards import check_fused_optimizer
from sharding_plans.tables.fused_algorithms import ALGORITHMS, CPU_ALGORITHMS

_DECAY_MODES = {"l2": WeightDecayMode.L2, "decoupled": WeightDecayMode.DECOUPLE}
_WITH_MOMENTS = ("adam", "partial_row_wise_adam", "lamb", "partial_row_wise_lamb")


def without_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that torch does not wrap for its profiler: at small batches the wrappers take longer than the steps.

    torch.optim wraps every step that does not say that it is wrapped; where that changes, this only costs time.
    """
    step.hooked = True  # pyright: ignore[reportFunctionMemberAccess]
    return step


class KeyedPart(KeyedOptimizerWrapper):
    """The state of `optimizer` by the names of its parameters, its step without wrappers."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        super().__init__(parameters, lambda _: optimizer)
        self._bare_step = inspect.unwrap(type(optimizer).step)

    @without_hooks
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self._bare_step(self._optimizer, closure)


def attach_sparse_optimizer(
    module: nn.Module, config: SparseOptimizerConfig, device: str = "cpu", *, frozen: Collection[str] = ()
) -> None:
    """Mark the module's tables for FBGEMM's fused optimizer; do it before planning, whose estimates count its state.

    Tables named in `frozen` get SGD at rate 0, which has no state and leaves every weight as it is, to the bit. `device` is
    "cpu" or "cuda". Raises ConfigError for what the device's kernels lack or would silently ignore.
    """
    check_fused_optimizer(
        config.algorithm,
        device,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        weight_decay_mode=config.weight_decay_mode,
    )
    weights = dict(module.named_parameters())
    for name, table in table_configs(module):
        still = table.name in frozen
        optimizer = ALGORITHMS["sgd" if still else config.algorithm].optimizer
        # A dict of its own for each table: TorchRec writes into it.
        _apply_optimizer_in_backward(optimizer, [weights[name]], {"lr": 0.0} if still else _fused_settings(config))


def build_optimizer(
    model: DistributedModelParallel,
    sparse: SparseOptimizerConfig,
    dense: DenseOptimizerConfig,
    *,
    frozen: Collection[str] = (),
) -> "ShardedOptimizer":
    """One optimizer over all parameters of a sharded model, its state in place, so that a checkpoint can be read into it.

    Its parts are the fused optimizer; data-parallel tables under the same algorithm, which the fused one does not reach, but
    not the `frozen` ones; and the dense part. Call `zero_grad` before each backward pass: that is what hands learning rates to
    the fused kernels.
    """
    parameters = trained_parameters(model)
    _fill_accumulators(parameters.fused, sparse.initial_accumulator)
    parts = [parameters.fused]
    trained = {name: table for name, table in parameters.data_parallel.items() if name.split(".")[-2] not in frozen}
    if trained:
        parts.append(_table_optimizer(trained, sparse))
    if parameters.dense:
        parts.append(_dense_optimizer(parameters.dense, dense))
    optimizer = ShardedOptimizer(
        parts,
        num_sparse_parts=len(parts) - bool(parameters.dense),
        clip=_clip(parameters, dense),
        average=None if dense.ema_decay is None else WeightAverage(parameters.dense, dense.ema_decay),
        in_backward=_sgd_in_backward(parts[-1], dense) if parameters.dense else None,
    )
    for group in optimizer.sparse_groups:
        if group["lr"]:  # frozen tables have 0
            group["lr"] = sparse.lr  # the kernels give it back rounded to float32
    return optimizer


class ShardedOptimizer(CombinedOptimizer):
    """Fused, data-parallel and dense optimizers as one; state is keyed by parameter name, the same under every plan.

    Parameters without state (SGD) are left out of the state dict: torch.distributed.checkpoint keeps only rank 0's empty
    entries, and a rank that holds other tables would miss them.
    """

    def __init__(
        self,
        parts: list[KeyedOptimizer],
        num_sparse_parts: int,
        clip: Callable[[], None] = lambda: None,
        average: WeightAverage | None = None,
        in_backward: SgdInBackward | None = None,
    ) -> None:
        super().__init__(list(parts))
        self._in_backward = in_backward
        self._num_sparse_parts, self._clip, self.average = num_sparse_parts, clip, average
        weights: list[Any] = [weight for part in parts[1:] for weight in part.params.values()]
        self._with_gradients = [holder for holder, _ in kept_in(weights)]
        self._rates_of_kernels: list[float] = []

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, and hand the learning rates on to the fused kernels where they have changed."""
        for weight in self._with_gradients:
            weight.grad = None
        if self._in_backward is not None:
            self._in_backward.begin_step()
        self._hand_on_rates()

    @without_hooks
    def step(self, closure: Any = None) -> None:
        """Clip the dense gradients as asked for, and update everything but the fused tables, which backward has updated."""
        self.step_tables()
        self.step_dense()

    def step_tables(self) -> None:
        """The first half of `step`: the tables that every rank holds whole; backward has updated the others."""
        self._clip()
        for _, part in self.optimizers[1 : self._num_sparse_parts]:
            part.step()
        self._hand_on_rates()

    def step_dense(self) -> None:
        """The second half of `step`: the dense part, or what of it the backward pass has not updated."""
        for _, part in self.optimizers[self._num_sparse_parts :]:
            if self._in_backward is None or any(weight.grad is not None for weight in part.params.values()):
                part.step()
        if self.average is not None:
            self.average.update()

    def _hand_on_rates(self) -> None:
        fused = self.optimizers[0][1]
        rates = [group["lr"] for group in fused.param_groups]
        if rates != self._rates_of_kernels:
            fused.zero_grad()  # TorchRec's word for it
            self._rates_of_kernels = rates

    def averaged(self) -> AbstractContextManager[None]:
        """Inside the block the model computes with its averaged dense weights, where it keeps averages."""
        return nullcontext() if self.average is None else self.average.in_place()

    @property
    def data_parallel_states(self) -> list[Tensor]:
        """The states of the tables that every rank holds whole; the kernels keep those of all others."""
        parts = [part for _, part in self.optimizers[1 : self._num_sparse_parts]]
        entries = [entry for part in parts for entry in part.state.values()]
        return [value for entry in entries for value in entry.values() if isinstance(value, Tensor)]

    @property
    def sparse_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all tables, fused and data-parallel."""
        return [group for _, part in self.optimizers[: self._num_sparse_parts] for group in part.param_groups]  # pyright: ignore[reportReturnType]

    @property
    def dense_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of the dense part."""
        return [group for _, part in self.optimizers[self._num_sparse_parts :] for group in part.param_groups]  # pyright: ignore[reportReturnType]

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return {**state, "state": {name: entries for name, entries in state["state"].items() if entries}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        empty = {name: {} for name, entries in super().state_dict()["state"].items() if not entries}
        super().load_state_dict({**state_dict, "state": {**empty, **state_dict["state"]}})
        self._rates_of_kernels = []


def _fused_settings(config: SparseOptimizerConfig) -> dict[str, Any]:
    """Settings by FBGEMM's names; eps always, since its default (1e-8) is not torch's (1e-10)."""
    settings: dict[str, Any] = {"lr": config.lr}
    if config.algorithm != "sgd":
        settings["eps"] = config.eps
    if config.algorithm in _WITH_MOMENTS:
        settings["beta1"], settings["beta2"] = config.betas
    if config.max_gradient is not None:
        settings.update(gradient_clipping=True, max_gradient=config.max_gradient)
    if config.weight_decay:
        settings["weight_decay"] = config.weight_decay
        if config.algorithm == "row_wise_adagrad":  # whose kernel decays nothing unless told how
            settings["weight_decay_mode"] = _DECAY_MODES[config.weight_decay_mode]
    return settings


def _fill_accumulators(fused: KeyedOptimizer, value: float) -> None:
    if not value:
        return
    for entries in fused.state.values():
        for accumulator in entries.values():
            pieces = accumulator.local_shards() if isinstance(accumulator, ShardedTensor) else []
            for piece in pieces:
                piece.tensor.fill_(value)


def _table_optimizer(tables: dict[str, nn.Parameter], config: SparseOptimizerConfig) -> KeyedOptimizer:
    assert config.algorithm in CPU_ALGORITHMS, "data-parallel tables are refused with lazy algorithms before planning"
    by_table = {name.split(".")[-2]: parameter for name, parameter in tables.items()}
    optimizer = TableOptimizer(
        by_table,
        config.algorithm,  # pyright: ignore[reportArgumentType]
        lr=config.lr,
        eps=config.eps,
        initial_accumulator=config.initial_accumulator,
    )
    return KeyedPart(tables, optimizer)


def _clip(parameters: TrainedParameters, config: DenseOptimizerConfig) -> Callable[[], None]:
    """Clips the gradients of the dense part, which are every rank's mean already, so that each rank clips alike.

    Tables have no part in the norm, data-parallel ones neither: it would depend on the plan.
    """
    weights = list(parameters.dense.values())

    def clip() -> None:
        if config.clip_value is not None:
            nn.utils.clip_grad_value_(weights, config.clip_value)
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(weights, config.clip_norm)

    return clip


def _dense_optimizer(parameters: dict[str, nn.Parameter], config: DenseOptimizerConfig) -> KeyedOptimizer:
    keyed = KeyedPart(parameters, _dense(list(parameters.values()), config))
    _initialise_state(keyed)
    return keyed


def _dense(parameters: list[nn.Parameter], config: DenseOptimizerConfig) -> torch.optim.Optimizer:
    lr, decay = config.lr, config.weight_decay
    # On the CPU torch loops over weights and operations unless told to fuse them; on a GPU it knows what is best.
    fused = True if all(weight.device.type == "cpu" for weight in parameters) else None
    if config.algorithm == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=decay, fused=fused)
    if config.algorithm == "adagrad":
        initial = config.initial_accumulator
        return torch.optim.Adagrad(
            parameters, lr=lr, eps=config.eps, weight_decay=decay, initial_accumulator_value=initial, fused=fused
        )
    adam = torch.optim.Adam if config.algorithm == "adam" else torch.optim.AdamW
    return adam(parameters, lr=lr, eps=config.eps, betas=config.betas, weight_decay=decay, fused=fused)


def _sgd_in_backward(dense: KeyedOptimizer, config: DenseOptimizerConfig) -> SgdInBackward | None:
    """Plain SGD inside the layers' backward pass, at the rate of the optimizer `dense`: of a CPU rank that is alone, for several
    ranks add up their gradients first. None where the optimizer is another, or must see all gradients to clip them."""
    is_plain = config.algorithm == "sgd" and not (config.momentum or config.weight_decay)
    is_clipped = config.clip_norm is not None or config.clip_value is not None
    weights: list[Any] = list(dense.params.values())
    is_here = all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
    if not is_plain or is_clipped or not is_here or dist.get_world_size() > 1:
        return None
    (group,) = dense.param_groups
    return SgdInBackward(weights, lambda: group["lr"])


def _initialise_state(keyed: KeyedOptimizer) -> None:
    """Make the lazy state of torch's optimizers exist, so that a checkpoint is read into it and not past it.

    TorchRec does it by a step on zero gradients. That step must neither decay weights nor count.
    """
    kept = [(group["lr"], group["weight_decay"]) for group in keyed.param_groups]
    for group in keyed.param_groups:
        group.update(lr=0.0, weight_decay=0.0)  # pyright: ignore[reportAttributeAccessIssue]
    keyed.init_state()
    for group, (lr, decay) in zip(keyed.param_groups, kept, strict=True):
        group.update(lr=lr, weight_decay=decay)  # pyright: ignore[reportAttributeAccessIssue]
    for entries in keyed.state.values():
        if "step" in entries:
            entries["step"].zero_()
    keyed.zero_grad(set_to_none=True)
