"""A file or a directory is complete or not there: written beside its place, flushed to disk, renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import DataError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """The path to write instead, a file or a directory of the caller's making; renamed to `path` when the block ends well.

    When the block fails, what was written is removed and `path` is as before. A directory that is there is replaced.
    DataError where the disk is full or a folder cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    with writing_to(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            put_in_place(partial, path)
        finally:
            _remove(partial)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """What the operating system refuses inside becomes a DataError that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Writing {path} failed: {error.strerror or error}. Nothing was left behind.{_advice(error, path)}"
        ) from error


def put_in_place(partial: Path, path: Path) -> None:
    """Flush a written file or directory to disk and rename it to `path`.

    A full directory cannot be renamed over, so the old one steps aside first and comes back on failure.
    """
    _flush(partial)
    if not path.is_dir():
        partial.rename(path)
        return
    old = path.with_name(f"{path.name}.old-{os.getpid()}")
    path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


def _flush(path: Path) -> None:
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def _advice(error: OSError, path: Path) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f" Choose another output{f' than in {error.filename}' if error.filename else ''}."
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free_mib = shutil.disk_usage(folder).free / 2**20
    return f" {folder} has {free_mib:.0f} MiB free: make room, or choose another output."
