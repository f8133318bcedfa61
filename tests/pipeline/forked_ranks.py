"""The real command line on real ranks, forked from a server that has imported everything: a start costs a second, not ten."""

import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.conftest import PRELOADED


def start_ranks(arguments: list[str], num_ranks: int, said: Path) -> list[BaseProcess]:
    """The ranks of `shardline <arguments>`, as torchrun would start them; what they write goes to the file `said`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "pipeline.jobs.train", "tests.pipeline.forked_ranks"])
    port = _free_port()
    ranks = []
    for rank in range(num_ranks):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(num_ranks),
            "LOCAL_WORLD_SIZE": str(num_ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "forked",
        }
        process = context.Process(target=_be_rank, args=(arguments, environment, said), daemon=True)
        process.start()
        ranks.append(process)
    return ranks


def run_on_forked_ranks(arguments: list[str], num_ranks: int, said: Path, timeout_seconds: float = 120) -> list[int]:
    """Exit codes of the ranks, once all have ended."""
    ranks = start_ranks(arguments, num_ranks, said)
    try:
        return wait_for(ranks, timeout_seconds)
    finally:
        end(ranks)


def wait_for(ranks: list[BaseProcess], timeout_seconds: float) -> list[int]:
    """Exit codes of the ranks; AssertionError where one still runs at the deadline."""
    deadline = time.monotonic() + timeout_seconds
    for number, rank in enumerate(ranks):
        rank.join(max(0.0, deadline - time.monotonic()))
        assert rank.exitcode is not None, f"rank {number} still runs after {timeout_seconds} s"
    return [rank.exitcode or 0 for rank in ranks]


def let_end(ranks: list[BaseProcess], seconds: float) -> None:
    """Wait for the ranks to end by themselves, but no longer."""
    deadline = time.monotonic() + seconds
    for rank in ranks:
        rank.join(max(0.0, deadline - time.monotonic()))


def end(ranks: list[BaseProcess]) -> None:
    for rank in ranks:
        rank.kill()
        rank.join()


def _be_rank(arguments: list[str], environment: dict[str, str], said: Path) -> None:
    from pipeline.cli import main

    os.environ.update(environment)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    code = main(arguments)
    sys.stdout.flush()
    os._exit(code)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
