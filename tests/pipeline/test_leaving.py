"""The end of a process: whole output, the right exit code, and no abort by a thread of gloo that is still at work."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.job_runs import REPOSITORY

LATE = """
import atexit, sys, time
import torch, torch.distributed as dist
from pipeline.leaving import run_and_leave
rank, store = int(sys.argv[1]), sys.argv[2]

def hold_the_interpreter():  # for longer than the other rank makes gloo's worker wait; then the interpreter ends
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        pass

def job():
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    dist.barrier()
    summed = torch.ones(4)
    summed.kept = "so that the worker, the last to let go of it, needs the interpreter's lock"
    if rank == 1:
        time.sleep(1.0)
    work = dist.all_reduce(summed, async_op=True)
    if rank == 1:
        work.wait()
    else:
        sys.setswitchinterval(1000)
        atexit.register(hold_the_interpreter)
    print("done")
    return 7

LEAVE
"""


def end_early(leave: str, store: Path) -> subprocess.CompletedProcess:
    """Rank 0, which ends while gloo's worker is about to let go of the last reference to a tensor."""
    command = [sys.executable, "-c", LATE.replace("LEAVE", leave)]
    with subprocess.Popen([*command, "1", str(store)], cwd=REPOSITORY, stdout=subprocess.DEVNULL) as other:
        early = subprocess.run([*command, "0", str(store)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
        other.wait(60)
    return early


def test_a_worker_of_gloo_that_is_late_does_not_abort_the_process(tmp_path: Path) -> None:
    left = end_early("run_and_leave(job)", tmp_path / "store")
    assert (left.returncode, left.stdout) == (7, "done\n"), left.stderr


def test_the_interpreters_own_end_does_abort_it(tmp_path: Path) -> None:
    # The reason for leaving: when this no longer aborts, `pipeline.leaving` can go.
    left = end_early("sys.exit(job())", tmp_path / "store")
    assert left.returncode == -6
    assert "terminate called without an active exception" in left.stderr


@pytest.mark.parametrize(
    ("job", "code"),
    [("lambda: 0", 0), ("lambda: 2", 2), ("lambda: 1 / 0", 1), ("lambda: sys.exit(5)", 5), ("lambda: sys.exit()", 0)],
)
def test_output_handlers_and_threads_come_before_the_end(job: str, code: int) -> None:
    script = f"""
import atexit, sys, threading, time
from pipeline.leaving import run_and_leave
def late(): time.sleep(0.2); print("thread")
def job():
    atexit.register(print, "handler")
    threading.Thread(target=late).start()
    return ({job})()
run_and_leave(job)
"""
    left = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert left.returncode == code
    assert left.stdout == "thread\nhandler\n"
    assert ("ZeroDivisionError" in left.stderr) == ("1 / 0" in job)
