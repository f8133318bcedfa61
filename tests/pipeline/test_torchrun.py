"""Under torchrun, as the recipes start it: a killed rank and a killed agent cost time, and not a bit of the weights."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from pipeline.checkpointing.meta import read_meta
from pipeline.checkpointing.tensors import read_whole
from tests.pipeline.forked_ranks import run_on_forked_ranks
from tests.pipeline.job_runs import REPOSITORY, tiny_settings

NUM_STEPS = 400
MORE = (
    f"--training.num_epochs=100000 --training.max_steps={NUM_STEPS} --training.log_every_steps=1 "
    "--training.threads_per_rank=1 --checkpoint.every_steps=20 --model.dropout=0.2"
)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_killed_rank_and_a_killed_agent_leave_no_trace_in_the_weights(prepared: Path, tmp_path: Path):
    job = _start(prepared, tmp_path)
    run, said = tmp_path / "elastic", tmp_path / "said"
    try:
        _wait_for(lambda: _last_step(run) > 0, said)
        (agent,) = psutil.Process(job.pid).children()
        agent.children()[1].send_signal(signal.SIGKILL)
        _wait_for(lambda: said.read_text().count("going on from") == 1, said)
        ranks = agent.children()
        at = _last_step(run)
        _wait_for(lambda: _last_step(run) > at, said)
        agent.kill()
        assert psutil.wait_procs(ranks, timeout=20)[1] == []  # no rank outlives its agent
        assert job.wait(timeout=200) == 0, said.read_text()[-3000:]
    finally:
        for process in [*psutil.Process(job.pid).children(recursive=True), job] if job.poll() is None else []:
            process.kill()
    assert said.read_text().count("going on from") == 2
    assert "torchrun.sh: torchrun ended with code 137 (start 1 of 20)" in said.read_text()
    assert _same(run, _calm(prepared, tmp_path))


def _start(prepared: Path, folder: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "HEAD": "127.0.0.1",
        "NNODES": "1",
        "RANKS_PER_HOST": "2",
        "PORT": "29533",
        "PAUSE_S": "0",
        "TORCHRUN": f"{sys.executable} -m torch.distributed.run --monitor-interval 0.2",
        "OMP_NUM_THREADS": "1",
    }
    command = ["docs/cluster/torchrun.sh", *tiny_settings(prepared, folder, "elastic"), *MORE.split()]
    with (folder / "said").open("w") as said:
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=said, stderr=said)


def _calm(prepared: Path, folder: Path) -> Path:
    arguments = ["train", *tiny_settings(prepared, folder, "calm"), *MORE.split()]
    assert run_on_forked_ranks(arguments, 2, folder / "calm.txt", timeout_seconds=200) == [0, 0]
    return folder / "calm"


def _same(run: Path, calm: Path) -> bool:
    last, expected = (folder / "checkpoints" / f"step-{NUM_STEPS:08d}" for folder in (run, calm))
    assert read_meta(last).rows_digest == read_meta(expected).rows_digest
    found, weights = read_whole(last, ""), read_whole(expected, "")
    return found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)


def _last_step(run: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*")), default=0)


def _wait_for(condition: Callable[[], bool], said: Path) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline, said.read_text()[-3000:]
        time.sleep(0.05)
