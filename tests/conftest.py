"""Process groups for tests, real gloo ranks forked from one server process that has torchrec imported already; small disks."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest

GROUP_TIMEOUT_SECONDS = 60
PRELOADED = ["pytest", "pipeline.training.schedules", "sharding_plans.planning.planner", "models.build"]


@pytest.fixture(scope="session")
def run_on_ranks() -> Callable[..., list[Any]]:
    """`run_on_ranks(num_ranks, function, *args, ranks_per_host=None, timeout_seconds=240)`: each rank's result, in rank order.

    Every rank is a process of its own in one gloo group, with one thread; `function` and `args` must be picklable, so the
    function lives at the top of its module. `ranks_per_host` is what the ranks find in LOCAL_WORLD_SIZE. A rank that fails
    fails the test with its traceback; a group that hangs is ended at the deadline. Starting ranks costs a tenth of a second
    once the server is up: put many cases into one call all the same.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def run(
        num_ranks: int,
        function: Callable[..., Any],
        *args: Any,
        ranks_per_host: int | None = None,
        timeout_seconds: float = 240,
    ) -> list[Any]:
        with tempfile.TemporaryDirectory() as directory:
            group = (num_ranks, ranks_per_host or num_ranks, Path(directory) / "store")
            ranks = [_start(context, rank, group, function, args) for rank in range(num_ranks)]
            try:
                return _collect([connection for _, connection in ranks], time.monotonic() + timeout_seconds)
            finally:
                for process, _ in ranks:
                    process.kill()
                    process.join()

    return run


def _start(
    context: Any, rank: int, group: tuple[int, int, Path], function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Any, Connection]:
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_be_rank, args=(rank, *group, function, args, sending), daemon=True)
    process.start()
    sending.close()
    return process, receiving


def _collect(connections: list[Connection], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(connections):
        waiting = [connection for rank, connection in enumerate(connections) if rank not in results]
        ready = wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            silent = [rank for rank in range(len(connections)) if rank not in results]
            pytest.fail(f"ranks {silent} gave no answer before the deadline")
        for connection in ready:
            rank = connections.index(connection)  # pyright: ignore[reportArgumentType]
            results[rank] = _answer(rank, connections[rank])
    return [results[rank] for rank in range(len(connections))]


def _answer(rank: int, connection: Connection) -> Any:
    try:
        failure, result = pickle.loads(connection.recv_bytes())
    except EOFError:
        pytest.fail(f"rank {rank} died without an answer")
    if failure:
        pytest.fail(f"rank {rank} failed:\n{failure}", pytrace=False)
    return result


def _be_rank(
    rank: int,
    num_ranks: int,
    ranks_per_host: int,
    store: Path,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    connection: Connection,
) -> None:
    import torch
    import torch.distributed as dist

    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(num_ranks),
        LOCAL_RANK=str(rank % ranks_per_host),
        LOCAL_WORLD_SIZE=str(ranks_per_host),
    )
    torch.set_num_threads(1)
    try:
        timeout = timedelta(seconds=GROUP_TIMEOUT_SECONDS)
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=num_ranks, timeout=timeout)
        answer = (None, function(*args))
    except BaseException:
        answer = (traceback.format_exc(), None)
    connection.send_bytes(pickle.dumps(answer))
    connection.close()
    os._exit(0)  # no waiting in destructors for ranks that are gone


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("1m")`: a file system of its own of that size, where this user may mount one."""
    folder = tmp_path / "small-disk"

    def mount(size: str) -> Path:
        folder.mkdir()
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True).returncode:
            pytest.skip("mounting a small tmpfs is not permitted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)
