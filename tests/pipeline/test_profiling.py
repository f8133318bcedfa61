"""`shardline train --profile` on two real ranks: traces that name the model's parts, and a page that adds up."""

import json
from pathlib import Path

import pytest

from tests.pipeline.forked_ranks import run_on_forked_ranks
from tests.pipeline.job_runs import tiny_settings


@pytest.fixture(scope="module")
def profile(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that 8 profiled steps leave: 4 to get warm, 4 recorded."""
    folder = tmp_path_factory.mktemp("profiled")
    settings = [*tiny_settings(prepared, folder, "run"), "--profile", "--training.max_steps=8"]
    said = folder / "said"
    assert run_on_forked_ranks(["train", *settings], 2, said) == [0, 0], said.read_text()
    assert f"profile {folder / 'run' / 'profile' / 'profile.html'}" in said.read_text()
    return folder / "run" / "profile"


def test_every_rank_leaves_a_trace_with_the_parts_of_the_recorded_steps(profile: Path):
    for rank in (0, 1):
        events = json.loads((profile / f"rank{rank}.trace.json").read_text())["traceEvents"]
        names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
        for part in ("step", "tables", "dense_arch", "interaction", "over_arch", "loss", "dense optimizer"):
            assert names.count(f"shardline: {part}") == 4, f"{part} on rank {rank}"
        assert not [name for name in names if name.startswith("Optimizer.step#")], "torch's range costs every step"


def test_the_page_gives_every_part_its_passes_and_adds_up_to_the_step(profile: Path):
    results = json.loads((profile / "profile.json").read_text())["results"]
    parts = results["parts_ms"]
    for part in ("tables", "dense_arch", "interaction", "over_arch", "loss"):
        assert parts[part]["forward"] > 0, part
        assert parts[part]["backward"] > 0, part
    assert parts["dense optimizer"]["optimizer"] > 0
    total = sum(time["forward"] + time["backward"] + time["optimizer"] for time in parts.values())
    assert total == pytest.approx(results["step_ms"], rel=0.05)  # ends of the window belong to no step
    assert sum(results["kinds_ms"].values()) == pytest.approx(total)
    assert {"matrix products", "table lookups and updates", "collectives"} <= set(results["kinds_ms"])
    page = (profile / "profile.md").read_text()
    assert "Steps 5 to 8" in page
    assert "| over_arch |" in page
