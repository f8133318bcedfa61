"""Bulk scoring: pieces dealt to processes, each piece one part of the output, finished parts kept over a kill.

    <output>.partial/         where parts wait until all are there; locked while a job works in it
      _identity.json          model, source and settings: another job's parts are not taken for one's own
      model/                  the bundle of a checkpoint, which the processes share
      part-00000.parquet ...  whole parts; each carries the account of its lines

Memory holds two pieces per process, whatever the size of the source.
"""

import fcntl
import json
import logging
import multiprocessing
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data.aside import put_in_place, writing_to
from data.errors import ConfigError, DataError
from data.raw.bad_lines import BadLine, BadLines, BlockAccount
from pipeline.inference.bundle import open_bundle
from pipeline.inference.scoring import Scorer, scorer_of_bundle
from pipeline.inference.work import Work
from pipeline.logs import set_up_logging
from pipeline.run_directory import write_json

logger = logging.getLogger(__name__)

PREDICTIONS, IDENTITY = "_predictions.json", "_identity.json"
"""Readers of a directory of Parquet pass over names that begin so."""
_ACCOUNT = b"shardline.account"


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who scores: how many processes, with how many threads, by which runtime of the bundle at `model`."""

    model: Path
    runtime: str
    batch_rows: int
    processes: int
    threads: int


def is_done(output: Path, identity: dict[str, Any]) -> bool:
    """Whether `output` holds these very predictions; ConfigError where it holds anything else."""
    if not output.exists():
        return False
    try:
        found = json.loads((output / PREDICTIONS).read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError):
        found = None
    if found != identity:
        raise ConfigError(
            f"{output} is there already and holds something else. Choose another output, or move it away."
        )
    return True


@contextmanager
def predictions_folder(output: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """The folder to write parts to, with what an earlier job of this identity finished; put at `output` by `finish`."""
    folder = output.with_name(f"{output.name}.partial")
    with writing_to(output):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _lock(descriptor, output)
            _begin(folder, identity)
            yield folder
        finally:
            os.close(descriptor)


def score_all(work: Work, crew: Crew, folder: Path) -> Iterator[BlockAccount]:
    """The account of every part, in order; parts that are there already are not scored again."""
    if crew.processes == 1:
        scorer = _ready(crew)
        for number, piece in enumerate(work.pieces()):
            path = _part(folder, number)
            yield _found(path) or _score_piece(work, piece, scorer, path)
        return
    with _pool(work, crew) as submit:
        waiting: deque[BlockAccount | Future[BlockAccount]] = deque()
        for number, piece in enumerate(work.pieces()):
            path = _part(folder, number)
            waiting.append(_found(path) or submit(piece, path))
            if len(waiting) >= 2 * crew.processes:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


def finish(folder: Path, output: Path, bad: BadLines, identity: dict[str, Any]) -> None:
    """Put the parts in their place, with an account of all lines. DataError where too many lines were bad; parts stay."""
    bad.check()
    about = {
        "rows": bad.num_lines - bad.counts.total(),
        "lines": bad.num_lines,
        "bad_lines": dict(bad.counts),
        "parts": len(list(folder.glob("part-*.parquet"))),
        "identity": identity,
    }
    shutil.rmtree(folder / "model", ignore_errors=True)
    for stray in folder.glob("*.partial-*"):
        stray.unlink()
    write_json(folder / PREDICTIONS, about)
    (folder / IDENTITY).unlink()
    put_in_place(folder, output)


def _lock(descriptor: int, output: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(
            f"Another process is writing {output} at this moment. Wait for it to end, or choose another output."
        ) from error


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    """Keep the parts of an earlier job of the same identity, else empty the folder."""
    path = folder / IDENTITY
    try:
        if json.loads(path.read_text(encoding="utf-8")) == identity:
            logger.info("Going on where an earlier job was stopped (%s)", folder)
            return
    except (OSError, ValueError):
        pass
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()
    write_json(path, identity)


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def _found(path: Path) -> BlockAccount | None:
    """The account of a part that is there and whole."""
    try:
        kept = json.loads((pq.read_schema(path).metadata or {})[_ACCOUNT])
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    return BlockAccount(
        kept["num_source_bytes"],
        kept["num_lines"],
        kept["num_kept"],
        Counter(kept["bad_counts"]),
        tuple(BadLine(**each) for each in kept["bad_lines"]),
    )


def _result(account: "BlockAccount | Future[BlockAccount]") -> BlockAccount:
    try:
        return account.result() if isinstance(account, Future) else account
    except BrokenProcessPool as error:
        raise DataError(
            "A process that scores was ended from outside, by a lack of memory perhaps. Finished parts are kept: run the same"
            " command again, with fewer --processes or a smaller --block_mib if memory was short."
        ) from error


_scorer: Scorer | None = None
"""In a process of the pool: what it scores by, from its first piece on."""


@contextmanager
def _pool(work: Work, crew: Crew) -> Iterator[Callable[[Any, Path], "Future[BlockAccount]"]]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(crew.processes, mp_context=context, initializer=set_up_logging, initargs=(True,))
    try:
        yield lambda piece, path: pool.submit(_score_in_worker, work, crew, piece, path)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _score_in_worker(work: Work, crew: Crew, piece: Any, path: Path) -> BlockAccount:
    global _scorer
    _scorer = _scorer or _ready(crew)
    return _score_piece(work, piece, _scorer, path)


def _ready(crew: Crew) -> Scorer:
    torch.set_num_threads(crew.threads)
    return scorer_of_bundle(open_bundle(crew.model), crew.runtime, crew.batch_rows)


def _score_piece(work: Work, piece: Any, scorer: Scorer, path: Path) -> BlockAccount:
    table, account = work.scored(piece, scorer)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    kept = {**vars(account), "bad_lines": [asdict(line) for line in account.bad_lines], "time_span": None}
    pq.write_table(table.replace_schema_metadata({_ACCOUNT: json.dumps(kept)}), partial, compression="zstd")
    put_in_place(partial, path)
    return account
