"""The files of a checkpoint: their checksums, and directories that are whole or not there."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from data.errors import CheckpointError
from pipeline.checkpointing.meta import META, read_meta

_CHUNK = 1 << 20


def describe(file: Path) -> dict[str, Any]:
    """Bytes and SHA-256 of a file that has reached the disk."""
    flush(file)
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def verify(path: Path) -> None:
    """Raise CheckpointError naming the first file that is missing, of another size, or of another SHA-256."""
    files = read_meta(path).files or {}
    if not files:
        raise CheckpointError(f"{path / META} is damaged (it lists no files); take another checkpoint of the run.")
    for name, expected in files.items():
        _verify_file(path / name, expected)


def flush(path: Path) -> None:
    """Have a file or the entries of a directory reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(aside: Path, final: Path) -> None:
    """Rename a whole directory to its name, flushed before and after; what had the name steps aside first."""
    for folder in (aside, *(child for child in aside.rglob("*") if child.is_dir())):
        flush(folder)
    replaced = final.with_name(f".{final.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    aside.rename(final)
    flush(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a checkpoint: it loses its name first, so that it is never seen half removed."""
    removed = path.with_name(f".{path.name}.removed")
    path.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def clear_leftovers(directory: Path) -> None:
    """Remove what a job that was killed left under names of its own; where it was killed while replacing, put back."""
    for replaced in directory.glob(".step-*.replaced"):
        final = replaced.with_name(replaced.name[1:].removesuffix(".replaced"))
        if not final.exists():
            replaced.rename(final)
    for pattern in (".step-*.partial", ".step-*.removed", ".step-*.replaced"):
        for leftover in directory.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


def _verify_file(file: Path, expected: Any) -> None:
    try:
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; take another checkpoint of the run.")
        if file.stat().st_size != expected["bytes"] or _sha256(file) != expected["sha256"]:
            raise CheckpointError(
                f"{file} is damaged (its bytes are not those that were saved); take another checkpoint."
            )
    except (OSError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); take another checkpoint of the run.") from error


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
