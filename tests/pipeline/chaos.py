"""A training run that is killed again and again, and goes on until it is done."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from pipeline.checkpointing.files import verify
from pipeline.checkpointing.meta import CheckpointMeta, read_meta
from pipeline.checkpointing.tensors import read_whole
from tests.pipeline.forked_ranks import end, let_end, run_on_forked_ranks, start_ranks

NUM_RANKS = 2
SECONDS_TO_START = 60
SECONDS_TO_NOTICE = 3
"""How long a rank may take to see that the other is gone; then it is ended, as the launcher does."""
CHAOS = (
    "--data.source=random --data.random.num_rows=4800 --training.num_epochs=100000 --data.random.table_sizes=[40,30,20] "
    "--data.random.num_lookups=[3] --data.random.num_dense=4 --model.embedding_dim=4 --model.dense_arch=[8,4] "
    "--model.over_arch=[8,1] --model.dropout=0.2 --training.global_batch_size=48 --training.eval_batch_size=4800 "
    "--training.log_every_steps=1 --training.threads_per_rank=1 --optimizer.sparse.lr=0.1 --device=cpu --resume=auto "
    "--sharding.sharding_types=[row_wise,table_wise] --checkpoint.every_steps=3"
)


@dataclass(frozen=True)
class Chaos:
    """What came of it: how many kills, how many of them while a checkpoint was being written."""

    num_kills: int
    num_inside_saving: int


def settings(runs_dir: Path, name: str, num_steps: int) -> list[str]:
    return ["train", *CHAOS.split(), f"--runs_dir={runs_dir}", f"--name={name}", f"--training.max_steps={num_steps}"]


def run_undisturbed(runs_dir: Path, num_steps: int) -> Path:
    arguments = settings(runs_dir, "calm", num_steps)
    codes = run_on_forked_ranks(arguments, NUM_RANKS, runs_dir / "calm.txt", timeout_seconds=600)
    assert codes == [0, 0], (runs_dir / "calm.txt").read_text()[-2000:]
    return runs_dir / "calm"


def run_disturbed(runs_dir: Path, num_steps: int, num_kills: int, seed: int) -> tuple[Path, Chaos]:
    """Kill at random moments of training and of saving, one rank or both, then let the run finish."""
    chance, run = random.Random(seed), runs_dir / "chaos"
    arguments, said = settings(runs_dir, "chaos", num_steps), runs_dir / "chaos.txt"
    inside = 0
    for _ in range(num_kills):
        ranks = start_ranks(arguments, NUM_RANKS, said)
        try:
            inside += _kill_at_random(ranks, run / "checkpoints", chance)
            let_end(ranks, SECONDS_TO_NOTICE)
        finally:
            end(ranks)
        check_readable(run / "checkpoints")
    codes = run_on_forked_ranks(arguments, NUM_RANKS, said, timeout_seconds=600)
    assert codes == [0, 0], said.read_text()[-2000:]
    return run, Chaos(num_kills, inside)


def last_checkpoint(run: Path) -> tuple[CheckpointMeta, dict[str, torch.Tensor]]:
    """What the last checkpoint says of itself, and all its tensors."""
    path = sorted((run / "checkpoints").glob("step-*"))[-1]
    return read_meta(path), read_whole(path, "")


def check_readable(checkpoints: Path) -> None:
    for checkpoint in checkpoints.glob("step-*"):
        verify(checkpoint)


def leftovers(checkpoints: Path) -> list[str]:
    return [path.name for path in checkpoints.iterdir() if not path.name.startswith("step-")]


def _kill_at_random(ranks: list[BaseProcess], checkpoints: Path, chance: random.Random) -> bool:
    """Kill after a random wait, or when a checkpoint is seen being written; whether one was."""
    victims = chance.choice([[0], [1], [0, 1]])
    saves_to_see = chance.choice([0, 1, 1, 2, 4])
    for _ in _saves_seen(ranks, checkpoints, saves_to_see):
        pass
    time.sleep(chance.choice([0.0, 0.002, 0.01, 0.03, 0.1]) * chance.random() if saves_to_see else chance.random() * 2)
    was_saving = bool(saves_to_see) and any(checkpoints.glob(".step-*.partial"))
    for victim in victims:
        ranks[victim].kill()
    return was_saving


def _saves_seen(ranks: list[BaseProcess], checkpoints: Path, number: int) -> Iterator[str]:
    """The checkpoints that are begun from now on, up to a number of them."""
    seen: set[str] = {path.name for path in checkpoints.glob(".step-*.partial")}
    deadline = time.monotonic() + SECONDS_TO_START
    while number and time.monotonic() < deadline and all(rank.is_alive() for rank in ranks):
        for path in checkpoints.glob(".step-*.partial"):
            if path.name not in seen:
                seen.add(path.name)
                number -= 1
                yield path.name
        time.sleep(0.001)
