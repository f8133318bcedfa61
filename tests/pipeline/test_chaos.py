"""Killed at any moment, a run ends where the undisturbed one ends, bit for bit."""

import os
from pathlib import Path

import psutil
import pytest
import torch

from tests.pipeline.chaos import last_checkpoint, leftovers, run_disturbed, run_undisturbed

NUM_KILLS = int(os.environ.get("SHARDLINE_TEST_KILLS", "4"))
STEPS_PER_KILL = 12


@pytest.mark.timeout(60 + 30 * NUM_KILLS)
def test_a_run_that_is_killed_again_and_again_ends_bit_for_bit_like_the_undisturbed_one(tmp_path: Path):
    num_steps = STEPS_PER_KILL * NUM_KILLS
    calm = run_undisturbed(tmp_path, num_steps)
    before = {process.pid for process in psutil.Process().children(recursive=True)}

    run, chaos = run_disturbed(tmp_path, num_steps, NUM_KILLS, seed=1)

    print(f"{chaos.num_kills} kills, {chaos.num_inside_saving} of them inside saving")
    (expected, weights), (found, rest) = last_checkpoint(calm), last_checkpoint(run)
    assert found.step == expected.step == num_steps
    assert found.rows_digest == expected.rows_digest
    assert rest.keys() == weights.keys()
    assert [name for name in weights if not torch.equal(rest[name], weights[name])] == []
    assert (tmp_path / "chaos.txt").read_text().count("going on from") >= NUM_KILLS // 2
    assert (run / "metrics.json").is_file()
    assert leftovers(run / "checkpoints") == []
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
