"""Contestants measured in turn: all stay alive, one works at a time, and who goes first changes from round to round.

So a disturbance of the machine meets all of them alike, and start-up is paid once.
"""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

START_TIMEOUT_S = 240.0


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A command that takes turns by `benchmarks.contestants.pacing`, or why there is none."""

    name: str
    command: Sequence[str] = ()
    batch: int = 0
    """Rows of a step."""
    environment: Mapping[str, str] | None = None
    missing: str = ""
    """Why it cannot take part; empty where it can."""


@dataclass
class Found:
    """By contestant: a rate a round, with and without loading; and why others took no part."""

    samples_per_s: dict[str, list[float]] = field(default_factory=dict)
    with_loading: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


class _Running:
    """A contestant that is alive."""

    def __init__(self, contestant: Contestant, log: IO[str], folder: Path) -> None:
        self._contestant, self._log = contestant, log
        self._process = subprocess.Popen(
            contestant.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder if contestant.environment else None,
            env=contestant.environment,
        )

    def turn(self, steps: int) -> dict[str, float]:
        """What the contestant says of so many steps; RuntimeError with its last words where it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            self._log.seek(0)
            words = [line.strip() for line in self._log.read().splitlines() if line.strip()]
            raise RuntimeError(f"ended by itself: {words[-1] if words else 'without a word'}")
        return json.loads(answer)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def take_turns(contestants: Sequence[Contestant], *, rounds: int, turn_s: float) -> Found:
    """Rates of all who can take part; a turn lasts about `turn_s` seconds, and at least two steps."""
    found, running, steps = Found(), {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            for contestant in contestants:
                _start(contestant, folder, turn_s, found, running, steps)
            for round_ in range(rounds):
                order = list(running) if round_ % 2 == 0 else list(running)[::-1]
                for each in order:
                    _one_turn(contestants, each, running[each], steps[each], found)
        finally:
            for each in running.values():
                each.end()
    return found


def _start(
    contestant: Contestant,
    folder: Path,
    turn_s: float,
    found: Found,
    running: dict[str, _Running],
    steps: dict[str, int],
) -> None:
    """Start one, and let it get warm; the steps of a turn come of how fast it was then."""
    if contestant.missing:
        found.skipped[contestant.name] = contestant.missing
        print(f"{contestant.name:<28} skipped: {contestant.missing}", flush=True)
        return
    own = folder / contestant.name.replace(" ", "-").replace(",", "")
    own.mkdir()
    began = time.perf_counter()
    started = _Running(contestant, (own / "log").open("w+"), own)
    try:
        started.turn(2)
        said = started.turn(2)
    except RuntimeError as error:
        found.skipped[contestant.name] = str(error)
        print(f"{contestant.name:<28} skipped: {error}", flush=True)
        return
    running[contestant.name] = started
    steps[contestant.name] = max(2, round(turn_s / (said["wall_s"] / said["steps"])))
    print(f"{contestant.name:<28} ready after {time.perf_counter() - began:.0f} s", flush=True)


def _one_turn(contestants: Sequence[Contestant], name: str, running: _Running, steps: int, found: Found) -> None:
    batch = next(each.batch for each in contestants if each.name == name)
    said = running.turn(steps)
    rows = said["steps"] * batch
    found.samples_per_s.setdefault(name, []).append(rows / said["busy_s"])
    found.with_loading.setdefault(name, []).append(rows / said["wall_s"])


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most, and the values themselves."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "values": [round(value, 4) for value in values],
    }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """How many times faster, round by round: `ours` and `theirs` are rates."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])
