"""Checkpoints by torch.distributed.checkpoint: weights, optimizer states, and where the run stood.

A checkpoint is a directory `step-00001200` with the tensors under `state/` and one `checkpoint.json` that says what they are:
step, settings, fingerprints, and size and SHA-256 of every file. It is written aside and renamed, so it is whole or absent.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state
from torchrec.distributed import DistributedModelParallel

from data.errors import CheckpointError
from pipeline.ranks import Ranks
from pipeline.run_directory import write_json

FORMAT = 1
_STATE, _META = "state", "checkpoint.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CheckpointMeta:
    """What a checkpoint is a checkpoint of."""

    step: int
    """Steps done; training goes on with this step (steps count from 0)."""
    config: dict[str, Any]
    """The run's resolved settings."""
    data_fingerprint: str
    tables: dict[str, list[int]]
    """Rows and width per table."""
    num_ranks: int
    versions: dict[str, str]
    best_auc: float | None = None
    files: dict[str, dict[str, Any]] | None = None
    """Bytes and SHA-256 per file."""
    format: int = FORMAT


def save(directory: Path, meta: CheckpointMeta, model: DistributedModelParallel, optimizer: Any, ranks: Ranks) -> Path:
    """Write `directory/step-<n>`; a collective. CheckpointError (a full disk, say) leaves earlier checkpoints untouched."""
    final = directory / f"step-{meta.step:08d}"
    aside = directory / f".{final.name}.partial"
    ranks.on_zero(lambda: _fresh(aside))
    ranks.together(lambda: _save_state(aside / _STATE, model, optimizer))
    ranks.on_zero(lambda: _finish(aside, final, meta))
    return final


def read_meta(path: Path) -> CheckpointMeta:
    """What a checkpoint directory says of itself; CheckpointError where it is none, or of a newer format."""
    try:
        content = json.loads((path / _META).read_text())
        meta = CheckpointMeta(**content)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is not a checkpoint: it has no {_META}. Give a directory such as "
            "artifacts/runs/<name>/checkpoints/step-00001000, or a run's directory."
        ) from None
    except (json.JSONDecodeError, TypeError, OSError) as error:
        raise CheckpointError(f"{path / _META} is damaged ({error}); take another checkpoint of the run.") from error
    if meta.format > FORMAT:
        raise CheckpointError(f"{path} has format {meta.format}, this version reads up to {FORMAT}; update Shardline.")
    return meta


def latest(path: Path) -> Path:
    """`path` itself where it is a checkpoint, else the last checkpoint of the run directory that it names."""
    if not path.is_dir():
        raise CheckpointError(f"{path} does not exist; give a checkpoint directory or a run's directory.")
    if (path / _META).is_file():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    found = sorted(child for child in folder.glob("step-*") if (child / _META).is_file())
    if not found:
        raise CheckpointError(f"{path} holds no checkpoint (looked for {folder}/step-*/{_META}).")
    return found[-1]


def verify(path: Path) -> None:
    """Raise CheckpointError naming the first file that is missing, of another size, or of another SHA-256."""
    for name, expected in (read_meta(path).files or {}).items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; take another checkpoint of the run.")
        if file.stat().st_size != expected["bytes"] or _sha256(file) != expected["sha256"]:
            raise CheckpointError(
                f"{file} is damaged (its bytes are not those that were saved); take another checkpoint."
            )


def load_weights(path: Path, model: DistributedModelParallel) -> None:
    """Read the weights into a model sharded by any plan on any number of ranks; a collective."""
    state: dict[str, Any] = {"model": model.state_dict()}
    _load(path, state)
    model.load_state_dict(state["model"])


def load_training_state(path: Path, model: DistributedModelParallel, optimizer: Any) -> None:
    """Read weights and optimizer states into a model and optimizer made by `build_optimizer`; a collective."""
    state: dict[str, Any] = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    _load(path, state)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])


def check_same_tables(path: Path, meta: CheckpointMeta, tables: dict[str, list[int]]) -> None:
    """Raise CheckpointError naming the tables whose rows or width differ from the model's."""
    names = sorted(set(meta.tables) | set(tables), key=list({**meta.tables, **tables}).index)
    wrong = [
        f"{name}: {_shape(meta.tables.get(name))} in the checkpoint, {_shape(tables.get(name))} in the model"
        for name in names
        if meta.tables.get(name) != tables.get(name)
    ]
    if wrong:
        raise CheckpointError(f"{path} is a checkpoint of another model:\n  " + "\n  ".join(wrong))


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    return {name: version(name) for name in ("torch", "torchrec", "numpy")}


def _save_state(path: Path, model: DistributedModelParallel, optimizer: Any) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    try:
        save_state(state, checkpoint_id=path)
    except (CheckpointException, OSError, RuntimeError) as error:
        raise CheckpointError(f"could not save a checkpoint under {path.parent.parent}: {_cause(error)}") from error


def _load(path: Path, state: dict[str, Any]) -> None:
    try:
        load_state(state, checkpoint_id=path / _STATE)
    except (CheckpointException, OSError, ValueError, RuntimeError, KeyError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read into this model: {_cause(error)}") from error


def _fresh(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise CheckpointError(f"cannot write a checkpoint to {path}: {error.strerror}.") from error


def _finish(aside: Path, final: Path, meta: CheckpointMeta) -> None:
    try:
        files = {str(f.relative_to(aside)): _describe(f) for f in sorted(aside.rglob("*")) if f.is_file()}
        write_json(aside / _META, {**asdict(meta), "files": files})
        if final.exists():
            shutil.rmtree(final)
        aside.replace(final)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(f"could not save a checkpoint under {final.parent}: {error.strerror}.") from error


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _shape(rows_and_dim: list[int] | None) -> str:
    return "absent" if rows_and_dim is None else f"{rows_and_dim[0]} rows x {rows_and_dim[1]}"


def _cause(error: BaseException) -> str:
    """The first line of the innermost reason: DCP wraps what happened on each rank."""
    if isinstance(error, CheckpointException) and error.failures:
        rank, (inner, _) = next(iter(error.failures.items()))
        return f"rank {rank}: {_cause(inner)}"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
