"""A run over two hosts outlives a cut link and the loss of a host: the other goes on alone, on the same rows."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.errors import CheckpointError
from pipeline.checkpointing.meta import read_meta
from pipeline.checkpointing.tensors import read_whole
from tests.pipeline.job_runs import tiny_settings
from tests.pipeline.two_hosts import TwoHosts, two_hosts

Train = Callable[..., Path]
ROUNDING = 0.01
"""Sums over one rank and over two are formed in another order: a part of what the last 20 steps move weights by."""


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    with two_hosts() as (made, problem):
        if problem:
            pytest.skip(f"network namespaces are not permitted here: {problem}")
        yield made


@pytest.mark.timeout(400)
def test_when_a_host_is_lost_for_good_the_other_ends_the_run_with_the_right_weights(
    hosts: TwoHosts, train: Train, prepared: Path, tmp_path: Path
):
    settings = _settings(num_steps=300)
    jobs = _start(hosts, settings, prepared, tmp_path)
    run = tmp_path / "hosts"
    _wait_for(lambda: _ranks_by_step(run, 2), tmp_path)
    _lose(hosts, "b")

    assert jobs["a"].wait(timeout=200) == 0, _said(tmp_path)
    assert _ranks_by_step(run, 1)
    assert _off_by(run, train(settings, "calm"), 300) < ROUNDING


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_host_that_was_cut_off_joins_again_and_is_lost_in_the_end(
    hosts: TwoHosts, train: Train, prepared: Path, tmp_path: Path
):
    settings = _settings(num_steps=3000)
    jobs = _start(hosts, settings, prepared, tmp_path)
    run = tmp_path / "hosts"
    _wait_for(lambda: _ranks_by_step(run, 2), tmp_path)
    hosts.set_link(up=False)
    _wait_for(lambda: _ranks_by_step(run, 1), tmp_path)
    alone_at = max(_ranks_by_step(run, 1))
    hosts.set_link(up=True)
    _wait_for(lambda: max(_ranks_by_step(run, 2), default=0) > alone_at, tmp_path)
    _lose(hosts, "b")

    assert jobs["a"].wait(timeout=300) == 0, _said(tmp_path)
    assert "this rank ends rather than wait for ever" in _said(tmp_path)
    assert "stopped by SIGTERM; saved" in _said(tmp_path)  # how torchrun makes room for a host that joins
    assert _off_by(run, train(settings, "calm"), 3000) < ROUNDING


def _settings(num_steps: int) -> str:
    return (
        f"--training.num_epochs=100000 --training.max_steps={num_steps} --training.log_every_steps=1 "
        "--training.timeout_s=8 --training.threads_per_rank=1 --checkpoint.every_steps=20 --checkpoint.keep_last=1000 "
        "--optimizer.sparse.lr=0.001 --optimizer.dense.lr=0.0001"
    )


def _start(hosts: TwoHosts, settings: str, prepared: Path, folder: Path) -> dict:
    arguments = [*tiny_settings(prepared, folder, "hosts"), *settings.split()]
    return {host: hosts.train(host, arguments, folder / f"said-{host}") for host in "ab"}


def _lose(hosts: TwoHosts, host: str) -> None:
    """Power and link at once: no process says goodbye, no connection is closed."""
    hosts.set_link(up=False)
    hosts.kill(host)


def _ranks_by_step(run: Path, num_ranks: int) -> list[int]:
    """Steps of the checkpoints that so many ranks have written."""
    steps = []
    for path in run.glob("checkpoints/step-*"):
        try:
            meta = read_meta(path)
        except CheckpointError:  # renamed while we look
            continue
        steps += [meta.step] if meta.num_ranks == num_ranks else []
    return steps


def _off_by(run: Path, calm: Path, step: int) -> float:
    """How far weights are from those of the run that nothing happened to, as a share of what its last 20 steps moved."""
    last, expected, before = (
        folder / "checkpoints" / f"step-{at:08d}" for folder, at in ((run, step), (calm, step), (calm, step - 20))
    )
    assert read_meta(last).num_ranks == 1
    assert read_meta(last).rows_digest == read_meta(expected).rows_digest
    return _farthest(last, expected) / _farthest(before, expected)


def _farthest(first: Path, second: Path) -> float:
    found, expected = read_whole(first, "model."), read_whole(second, "model.")
    return max((found[name] - weight).abs().max().item() for name, weight in expected.items())


def _wait_for(condition: Callable[[], object], folder: Path) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, _said(folder)
        time.sleep(0.2)


def _said(folder: Path) -> str:
    """What both hosts said, without the steps."""
    said = "".join(path.read_text() for path in sorted(folder.glob("said-*")))
    return "\n".join(line for line in said.splitlines() if not line.startswith("step "))
