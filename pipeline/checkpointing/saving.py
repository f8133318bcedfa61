"""Saving: written aside by all ranks, checksummed, flushed, renamed; at once, or behind training's back."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from data.errors import CheckpointError
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.choosing import prune
from pipeline.checkpointing.files import clear_leftovers, describe, put_in_place
from pipeline.checkpointing.meta import CheckpointMeta, write_meta
from pipeline.checkpointing.tensors import STATE, copied, write_state
from pipeline.ranks import Ranks

T = TypeVar("T")


class Saver:
    """Saves the checkpoints of one run under `directory`, and removes those that are not to be kept.

    All methods are collectives. A save that fails (a full disk, say) raises CheckpointError on every rank and leaves
    earlier checkpoints as they were. The ranks talk over a gloo group of their own, so that saving may run beside training.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, ranks: Ranks) -> None:
        self._directory, self._config, self._ranks = directory, config, ranks
        self._group = ranks.own_group()
        self._writing: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._last: Path | None = None
        if ranks.is_zero:
            clear_leftovers(directory)

    def save(self, meta: CheckpointMeta, state: dict[str, Any]) -> Path:
        """Write `directory/step-<n>`; asynchronous saving returns as soon as the state is copied."""
        self.wait()
        final = self._directory / f"step-{meta.step:08d}"
        if self._last == final:
            return final
        self._last = final
        if self._config.asynchronous:
            self._write_beside(final, meta, copied(state))
        else:
            self._write(final, meta, state)
        return final

    def wait(self) -> None:
        """Return once the last checkpoint is whole; raise what went wrong while it was written beside training."""
        if self._writing:
            self._writing.join()
            self._writing = None
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def _write_beside(self, final: Path, meta: CheckpointMeta, state: dict[str, Any]) -> None:
        def write() -> None:
            try:
                self._write(final, meta, state)
            except BaseException as error:
                self._failure = error

        self._writing = threading.Thread(target=write, name="checkpoint", daemon=True)
        self._writing.start()

    def _write(self, final: Path, meta: CheckpointMeta, state: dict[str, Any]) -> None:
        aside = final.with_name(f".{final.name}.partial")
        try:
            self._together(lambda: _fresh(aside) if self._ranks.is_zero else None)
            write_state(aside / STATE, state, self._group)
            described = self._together(lambda: _own_files(aside, self._ranks))
            files = {name: what for rank_files in described for name, what in rank_files.items()}
            self._together(lambda: self._finish(aside, final, meta, files) if self._ranks.is_zero else None)
        except CheckpointError:
            if self._ranks.is_zero:
                shutil.rmtree(aside, ignore_errors=True)
            raise

    def _finish(self, aside: Path, final: Path, meta: CheckpointMeta, files: dict[str, dict[str, Any]]) -> None:
        try:
            write_meta(aside, meta, files)
            put_in_place(aside, final)
            prune(self._directory, keep_last=self._config.keep_last, keep_best=self._config.keep_best)
        except OSError as error:
            raise CheckpointError(f"could not save a checkpoint under {final.parent}: {error.strerror}.") from error

    def _together(self, step: Callable[[], T]) -> list[T]:
        """What `step` returned on every rank; where it failed on any, all ranks raise the same CheckpointError."""
        failure, result = None, None
        try:
            result = step()
        except CheckpointError as error:
            failure = error
        gathered: list[Any] = [(failure, result)] * self._ranks.num_ranks
        if self._ranks.num_ranks > 1:
            dist.all_gather_object(gathered, (failure, result), group=self._group)
        for raised, _ in gathered:
            if raised is not None:
                raise raised
        return [value for _, value in gathered]


def _fresh(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    try:
        (path / STATE).mkdir(parents=True)
    except OSError as error:
        raise CheckpointError(f"cannot write a checkpoint to {path}: {error.strerror}.") from error


def _own_files(aside: Path, ranks: Ranks) -> dict[str, dict[str, Any]]:
    """The checksums of the files that this rank wrote; the index is rank 0's."""
    patterns = (f"__{ranks.rank}_*", *([".metadata"] if ranks.is_zero else []))
    try:
        found = sorted(file for pattern in patterns for file in (aside / STATE).glob(pattern))
        return {str(file.relative_to(aside)): describe(file) for file in found}
    except OSError as error:
        raise CheckpointError(f"could not save a checkpoint under {aside.parent}: {error.strerror}.") from error
