"""A checkpoint loads under any plan and any number of ranks: weights and optimizer states bitwise, the next losses alike.

By default every sharding type, number of ranks and algorithm is left once and reached once; `pytest -m full` takes all pairs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pipeline.checkpoint_moves import MIXED, RANKS, Place, Trained, kinds_of, load_into, save_from

RunOnRanks = Callable[..., list[Any]]
TOLERANCE = 1e-6
PLACES = [
    Place(algorithm, kind, num_ranks) for algorithm in MIXED for kind in kinds_of(algorithm) for num_ranks in RANKS
]
ALL_MOVES = [(source, target) for source in PLACES for target in PLACES if source.algorithm == target.algorithm]


def _one_move_each() -> list[tuple[Place, Place]]:
    """Each kind to the one two further on, from 1 to 2, 2 to 4, 4 to 1 ranks in turn."""
    moves = []
    for offset, algorithm in enumerate(MIXED):
        kinds = kinds_of(algorithm)
        for i, kind in enumerate(kinds):
            before, after = RANKS[(i + offset) % 3], RANKS[(i + offset + 1) % 3]
            moves.append((Place(algorithm, kind, before), Place(algorithm, kinds[(i + 2) % len(kinds)], after)))
    return moves


def _broken(moves: list[tuple[Place, Place]], run_on_ranks: RunOnRanks, directory: Path) -> list[str]:
    """The moves after which state or losses are not what they were before, with what differs."""
    saved: dict[str, Trained] = {}
    for num_ranks in RANKS:
        places = sorted({source for source, _ in moves if source.num_ranks == num_ranks}, key=lambda place: place.name)
        if places:
            saved |= _first_rank(run_on_ranks, num_ranks, save_from, places, directory)
    broken = []
    for num_ranks in RANKS:
        there = [move for move in moves if move[1].num_ranks == num_ranks]
        loaded = _first_rank(run_on_ranks, num_ranks, load_into, there, directory) if there else []
        for (source, target), found in zip(there, loaded, strict=True):
            what = _difference(found, saved[source.name])
            broken += [f"{source.name} to {target.name}: {what}"] if what else []
    return broken


def _first_rank(run_on_ranks: RunOnRanks, num_ranks: int, *work: Any) -> Any:
    return run_on_ranks(num_ranks, *work, ranks_per_host=min(num_ranks, 2), timeout_seconds=2400)[0]


def _difference(found: Trained, expected: Trained) -> str:
    """What differs: names of weights and optimizer states, which must be bitwise equal, or the next losses; nothing if none."""
    if found.state.keys() != expected.state.keys():
        return f"entries {sorted(found.state.keys() ^ expected.state.keys())} are only on one side"
    different = [name for name, tensor in expected.state.items() if not torch.equal(found.state[name], tensor)]
    if different:
        return f"{different} differ"
    are_equal = found.losses == pytest.approx(expected.losses, abs=TOLERANCE)
    return "" if are_equal else f"losses {found.losses}, expected {expected.losses}"


def test_every_kind_of_plan_is_left_and_reached_with_equal_state_and_losses(run_on_ranks: RunOnRanks, tmp_path: Path):
    moves = _one_move_each()
    for end in (0, 1):
        assert {(move[end].algorithm, move[end].kind) for move in moves} == {(p.algorithm, p.kind) for p in PLACES}
    assert _broken(moves, run_on_ranks, tmp_path) == []


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("num_ranks", RANKS)
@pytest.mark.parametrize("algorithm", MIXED)
def test_every_pair_of_plans_and_numbers_of_ranks(
    algorithm: str, num_ranks: int, run_on_ranks: RunOnRanks, tmp_path: Path
):
    moves = [move for move in ALL_MOVES if move[1].algorithm == algorithm and move[1].num_ranks == num_ranks]
    assert len(moves) == len(kinds_of(algorithm)) ** 2 * len(RANKS)
    assert _broken(moves, run_on_ranks, tmp_path) == []
