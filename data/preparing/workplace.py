"""Where a dataset comes to be: a folder beside the output that survives a kill, so that the next run goes on in it.

    <output>.preparing/
      identity.json          what is being made of what: a run with another identity begins anew
      counting.state         where the first pass stands, at the end of some block
      counted.state          its tally, once it is done
      writing.state          where the second pass stands
      counts/counting/...    what the first pass counted beyond what memory holds: files that counting.state names are whole
      counts/writing/...     the same of the second pass
      train/part-00000...    parts; those that writing.state names are whole

The folder is locked while a run works in it. It goes away when the run fails for a reason that would come again, and stays after
Ctrl-C, SIGTERM, a kill, or a power cut.
"""

import fcntl
import hashlib
import json
import logging
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.aside import put_in_place, writing_to
from data.errors import DataError

logger = logging.getLogger(__name__)

IDENTITY = "identity.json"
COUNTING, COUNTED, WRITING = "counting.state", "counted.state", "writing.state"
NOTES_VERSION = 3
"""Goes up when what is noted becomes something else: a newer version does not go on where an older one was stopped."""
COUNTS = "counts"
_STATES = (IDENTITY, COUNTING, COUNTED, WRITING)
_CHECKSUM_BYTES = 32
# Noting progress may take this share of the time.
_LARGEST_SHARE = 0.05


class Workplace:
    """The folder, and the notes in it. A note is whole or not there."""

    def __init__(self, directory: Path, seconds_between_notes: float) -> None:
        self.directory = directory
        self._seconds = seconds_between_notes
        self._next_note = time.monotonic() + seconds_between_notes

    def counts_folder(self, name: str) -> Path:
        """Where the pass with this note may put counts of ids; the folder need not be there yet."""
        return self.directory / COUNTS / Path(name).stem

    @property
    def is_note_due(self) -> bool:
        """Whether so much time has passed since the last note that another one is worth it."""
        return time.monotonic() >= self._next_note

    def note(self, name: str, state: Any) -> None:
        """Keep `state` under a name, in place of what was there."""
        started = time.monotonic()
        body = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
        partial = self.directory / f"{name}.partial"
        with partial.open("wb") as file:
            file.write(hashlib.sha256(body).digest())
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.directory / name)
        took = time.monotonic() - started
        self._next_note = started + max(self._seconds, took / _LARGEST_SHARE if self._seconds else 0.0)

    def noted(self, name: str) -> Any:
        """What was kept under a name; none where there is nothing, or it is damaged or another version's."""
        try:
            stored = (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None
        checksum, body = stored[:_CHECKSUM_BYTES], stored[_CHECKSUM_BYTES:]
        try:
            if hashlib.sha256(body).digest() == checksum:
                return pickle.loads(body)
        except (AttributeError, ImportError, TypeError, pickle.UnpicklingError):
            pass
        logger.warning("%s is damaged or of another version: doing that pass again", self.directory / name)
        return None

    def forget(self, name: str) -> None:
        (self.directory / name).unlink(missing_ok=True)


@contextmanager
def workplace(output: Path, identity: dict[str, Any], seconds_between_notes: float) -> Iterator[Workplace]:
    """A place to make `output` in, put there when the block ends well; what an earlier run of this identity left is in it.

    DataError where another process works on this output, the disk is full, or a folder cannot be written.
    """
    directory = output.with_name(f"{output.name}.preparing")
    with writing_to(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True)
        with _locked(directory, output):
            _begin(directory, identity)
            try:
                yield Workplace(directory, seconds_between_notes)
                for name in _STATES:
                    (directory / name).unlink(missing_ok=True)
                if (directory / COUNTS).exists():
                    shutil.rmtree(directory / COUNTS)
                put_in_place(directory, output)
            except Exception:
                shutil.rmtree(directory, ignore_errors=True)
                raise
            except BaseException:
                logger.info("Stopped. What is done stays in %s: the same command goes on there.", directory)
                raise


@contextmanager
def _locked(directory: Path, output: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DataError(
            f"Another process is preparing {output} at this moment. Wait for it to end, or choose another output."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _begin(directory: Path, identity: dict[str, Any]) -> None:
    """Keep what a run of the same identity left, else empty the folder."""
    path, text = directory / IDENTITY, json.dumps(identity, indent=1)
    if path.exists() and path.read_text() == text:
        logger.info("Going on where an earlier run was stopped (%s)", directory)
        return
    for item in directory.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()
    partial = directory / f"{IDENTITY}.partial"
    partial.write_text(text)
    partial.rename(path)
