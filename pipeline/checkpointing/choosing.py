"""Which checkpoint: of a run's directory, the last good one; and which ones are kept."""

import logging
from collections.abc import Iterator
from pathlib import Path

from data.errors import CheckpointError
from pipeline.checkpointing.files import remove, verify
from pipeline.checkpointing.meta import META, read_meta

logger = logging.getLogger(__name__)


def last_good(path: Path) -> Path:
    """`path` itself where it is a checkpoint, verified; of a run's directory the last checkpoint that is whole.

    Damaged ones are named in the log and passed over. CheckpointError where there is no whole one, or `path` itself is
    damaged: who names one checkpoint gets that or none.
    """
    if (path / META).is_file() or not _folder_of(path).is_dir():
        read_meta(path)
        verify(path)
        return path
    problems: list[str] = []
    for checkpoint in sorted(_checkpoints(path), reverse=True):
        problem = _problem_of(checkpoint)
        if problem is None:
            if problems:
                logger.warning("going back to %s, the last checkpoint that is whole", checkpoint)
            return checkpoint
        logger.warning("%s", problem)
        problems.append(problem)
    if not problems:
        raise CheckpointError(
            f"{path} is not a checkpoint (it has no {META}), nor a run's directory (nothing is {_folder_of(path)}/step-*)."
        )
    raise CheckpointError(f"{path} holds no checkpoint that is whole ({'; '.join(problems)}).")


def has_checkpoints(path: Path) -> bool:
    """Whether a run's directory holds any checkpoint, whole or damaged."""
    return next(_checkpoints(path), None) is not None


def prune(directory: Path, *, keep_last: int, keep_best: bool) -> None:
    """Remove checkpoints but for the newest and, where asked, the one with the best val AUC."""
    checkpoints = sorted(_checkpoints(directory))
    kept = set(checkpoints[-keep_last:])
    if keep_best:
        best = _best(checkpoints)
        kept |= {best} if best else set()
    for checkpoint in checkpoints:
        if checkpoint not in kept:
            remove(checkpoint)


def set_damaged_aside(path: Path, newer_than: int) -> None:
    """Rename what is damaged in a run's directory, so that going on from an older step overwrites nothing."""
    for checkpoint in sorted(_checkpoints(path)):
        if int(checkpoint.name.removeprefix("step-")) > newer_than:
            checkpoint.rename(_free_name(checkpoint.with_name(f"damaged-{checkpoint.name}")))


def _folder_of(path: Path) -> Path:
    return path / "checkpoints" if (path / "checkpoints").is_dir() else path


def _checkpoints(path: Path) -> Iterator[Path]:
    return (found for found in _folder_of(path).glob("step-*") if found.name.removeprefix("step-").isdigit())


def _problem_of(checkpoint: Path) -> str | None:
    try:
        verify(checkpoint)
    except CheckpointError as error:
        return str(error)
    return None


def _best(checkpoints: list[Path]) -> Path | None:
    judged = []
    for checkpoint in checkpoints:
        try:
            meta = read_meta(checkpoint)
        except CheckpointError:
            continue
        if meta.val_auc is not None:
            judged.append((meta.val_auc, -meta.step, checkpoint))
    return max(judged)[2] if judged else None


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}-{number}" if number else path.name) for number in range(1_000_000))
    return next(name for name in names if not name.exists())
