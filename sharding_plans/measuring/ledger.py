"""The ledger: what was ever measured, one JSON record a line, only ever appended to. Light: no torch here.

A record is written by a single `write` to a file opened for appending, under a lock: two jobs that measure at the same time
leave whole lines. A line that is damaged all the same is reported with its number and skipped; the others are kept.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path

from data.errors import PlanError
from sharding_plans.measuring.measurement import Measurement, measurement_from_dict, measurement_to_dict

FORMAT = "shardline-measurement-1"


def append(path: str | Path, measurement: Measurement) -> None:
    """Add a record at the end of the ledger, whole or not at all; PlanError where the file cannot be written."""
    values = {"format": FORMAT, **measurement_to_dict(measurement)}
    line = (json.dumps(values, allow_nan=False) + "\n").encode()
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_whole(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PlanError(f"The ledger {target} cannot be written: {error}.") from error


def read(path: str | Path) -> tuple[list[Measurement], list[str]]:
    """All whole records in their order, and what is wrong with each other line, by number.

    A ledger that is not there yet is empty; PlanError where it cannot be read.
    """
    source = Path(path)
    try:
        lines = source.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise PlanError(f"The ledger {source} cannot be read: {error}.") from error
    records, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(_record(line))
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{source}, line {number}, is no record and was skipped: {error}")
    return records, problems


def repeats(records: Iterable[Measurement]) -> dict[tuple[str, str, int, int], list[Measurement]]:
    """The records by what was measured: (plan, model, ranks, rows of a step)."""
    found: dict[tuple[str, str, int, int], list[Measurement]] = {}
    for each in records:
        key = (each.plan_fingerprint, each.model_fingerprint, each.num_ranks, each.global_batch_size)
        found.setdefault(key, []).append(each)
    return found


def _write_whole(descriptor: int, line: bytes) -> None:
    """One write; what a full disk cut off is taken back. A last line without its end is parted from ours."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    if end and os.pread(descriptor, 1, end - 1) != b"\n":
        line = b"\n" + line
    if os.write(descriptor, line) != len(line):
        os.ftruncate(descriptor, end)
        raise OSError("the disk is full")
    os.fsync(descriptor)


def _record(line: bytes) -> Measurement:
    values = json.loads(line)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f'its "format" is not "{FORMAT}"')
    return measurement_from_dict(values)
