"""A checkpoint's tensors by torch.distributed.checkpoint: each rank writes and reads its pieces, whatever the plan."""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed._shard.sharded_tensor.shard import Shard
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state
from torchrec.distributed import DistributedModelParallel

from data.errors import CheckpointError
from pipeline.checkpointing.safe_reader import SafeReader, TensorsOnly

STATE = "state"
AVERAGE_PREFIX = "average."
_LOAD_ERRORS = (CheckpointException, OSError, ValueError, RuntimeError, KeyError, EOFError, AssertionError)


def training_state(model: DistributedModelParallel, optimizer: Any) -> dict[str, Any]:
    """The tensors of a model and its optimizer, as they are: training on changes them."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return state if optimizer.average is None else {**state, "average": optimizer.average.state_dict()}


def copied(state: Any) -> Any:
    """The same state in memory of its own on the CPU, for writing while training goes on."""
    if isinstance(state, Mapping):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, ShardedTensor):
        shards = [Shard(_copied_tensor(shard.tensor), shard.metadata) for shard in state.local_shards()]
        return ShardedTensor._init_from_local_shards_and_global_metadata(
            shards,
            state.metadata(),
            process_group=state._process_group,  # pyright: ignore[reportArgumentType]
        )
    return _copied_tensor(state) if isinstance(state, Tensor) else state


def write_state(path: Path, state: dict[str, Any], group: dist.ProcessGroup | None) -> None:
    """Write a state's tensors into the directory, flushed to the disk; a collective over the group."""
    try:
        save_state(state, storage_writer=FileSystemWriter(path, sync_files=True), process_group=group)
    except (CheckpointException, OSError) as error:
        folder = path.parent.parent
        free_mib = shutil.disk_usage(folder).free // 2**20
        raise CheckpointError(
            f"could not save a checkpoint under {folder}, where {free_mib:,} MiB are free: {_cause(error)}. Earlier "
            "checkpoints are untouched; make room and go on from the last one."
        ) from error


def load_weights(path: Path, model: DistributedModelParallel) -> None:
    """Read the weights, averaged ones where there are any, into a model sharded by any plan over any ranks; a collective."""
    state: dict[str, Any] = {"model": model.state_dict()}
    _load(path, state)
    averages = {name: tensor for name, tensor in read_averages(path).items() if name in state["model"]}
    model.load_state_dict({**state["model"], **averages})  # pyright: ignore[reportArgumentType]


def load_training_state(path: Path, model: DistributedModelParallel, optimizer: Any) -> None:
    """Read weights and optimizer states into a model and optimizer made by `build_optimizer`; a collective.

    Under any plan and any number of ranks. Row-wise Adagrad keeps one accumulator per row and is never planned by columns
    (`sharding_plans.guards.guards`), so its state never needs converting.
    """
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    _load(path, state)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if optimizer.average is not None:
        optimizer.average.load_state_dict(read_averages(path))


def read_averages(path: Path) -> dict[str, Tensor]:
    """The averaged dense weights of a checkpoint by name, and what else belongs to them; empty where its run kept none."""
    return read_whole(path, AVERAGE_PREFIX)


def read_whole(path: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors of a checkpoint whose names start with the prefix, whole, by the rest of their names; no process group."""
    entries = SafeReader(path / STATE).read_metadata().state_dict_metadata
    state: dict[str, Any] = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries.items()
        if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
    }
    _load(path, state, alone=True)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def sizes(path: Path) -> dict[str, tuple[tuple[int, ...], str, int]]:
    """Shape, dtype and number of stored pieces of every tensor in a checkpoint."""
    entries = SafeReader(path / STATE).read_metadata().state_dict_metadata
    return {
        name: (tuple(entry.size), str(entry.properties.dtype).removeprefix("torch."), len(entry.chunks))
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def _load(path: Path, state: dict[str, Any], *, alone: bool = False) -> None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
            load_state(state, storage_reader=SafeReader(path / STATE), planner=TensorsOnly(), no_dist=alone)
    except _LOAD_ERRORS as error:
        raise CheckpointError(f"{path} cannot be read into this model: {_cause(error)}") from error


def _copied_tensor(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _cause(error: BaseException) -> str:
    """The first line of the innermost reason: the library wraps what happened on each rank."""
    if isinstance(error, CheckpointException) and error.failures:
        rank, (inner, _) = next(iter(error.failures.items()))
        return f"rank {rank}: {_cause(inner)}"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
