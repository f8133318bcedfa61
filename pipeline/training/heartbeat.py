"""Who hangs: every rank leaves signs of life in the launcher's store, so that those who wait can name the one that is stuck."""

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch.distributed as dist

from pipeline.launch import HungRank

_INTERVAL_S = 1.0
_STALE_S = 5.0
_ASK_FOR_S = 5.0
_TIMED_OUT = re.compile(r"timed? ?out", re.IGNORECASE)
_CUT_OFF = "cannot reach the host that keeps the ranks' signs of life: the link is cut, or that host is gone"


@dataclass
class Life:
    """What a rank does, and since when it has lived to say so."""

    step: int = 0
    doing: str = "starting"
    at: float = 0.0
    host: str = ""
    pid: int = 0


class Heartbeat:
    """Publishes what this rank does every second, from a thread. `note` costs nothing: it only changes what is published."""

    def __init__(self, rank: int, num_ranks: int, store: Any) -> None:
        self._rank, self._num_ranks, self._store = rank, num_ranks, store
        self._life = Life(host=socket.gethostname(), pid=os.getpid())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def note(self, doing: str, step: int | None = None) -> None:
        """Say what comes now, and at which step."""
        self._life.doing = doing
        if step is not None:
            self._life.step = step

    def start(self) -> None:
        self._publish()
        self._thread.start()

    def stop(self) -> None:
        """End the thread: one that is inside the store when the interpreter ends would take the process down with SIGABRT."""
        self._ended.set()
        self._thread.join(_ASK_FOR_S)  # no longer: a cut link may never answer

    def who_hangs(self) -> str:
        """The ranks that the others wait for, in words; where the store does not answer, that this host is cut off."""
        answers: list[str] = []

        def ask() -> None:
            with contextlib.suppress(RuntimeError):  # the store went with its host
                answers.append(self._silent_or_behind())

        asking = threading.Thread(target=ask, name="who-hangs", daemon=True)  # a cut link answers neither yes nor no
        asking.start()
        asking.join(_ASK_FOR_S)
        return answers[0] if answers else f"rank {self._rank} ({self._life.host}) {_CUT_OFF}"

    def _silent_or_behind(self) -> str:
        """Silent ranks, else those that are behind."""
        self._publish()
        lives = {rank: self._life_of(rank) for rank in range(self._num_ranks)}
        now = time.time()
        silent = [rank for rank, life in lives.items() if life is None or now - life.at > _STALE_S]
        first_step = min(life.step for life in lives.values() if life)
        behind = [rank for rank, life in lives.items() if life and life.step == first_step]
        reading = [rank for rank in behind if lives[rank].doing == "reading data"]  # pyright: ignore[reportOptionalMemberAccess]
        return "; ".join(_words(rank, lives[rank], now) for rank in silent or reading or behind)

    def _beat(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            try:
                self._publish()
            except RuntimeError:  # the store ends with the launcher
                return

    def _publish(self) -> None:
        self._life.at = time.time()
        self._store.set(f"life/{self._rank}", json.dumps(asdict(self._life)))

    def _life_of(self, rank: int) -> Life | None:
        key = f"life/{rank}"
        return Life(**json.loads(self._store.get(key))) if self._store.check([key]) else None


class NoHeartbeat:
    """The heartbeat of a rank that is alone."""

    def note(self, doing: str, step: int | None = None) -> None: ...


@contextmanager
def heartbeat(rank: int, num_ranks: int) -> Iterator[Heartbeat | NoHeartbeat]:
    """Signs of life while the block runs; a collective of it that times out becomes HungRank, naming who is stuck."""
    if num_ranks == 1:
        yield NoHeartbeat()
        return
    store: Any = dist.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateImportUsage]
    beating = Heartbeat(rank, num_ranks, store.clone())  # a connection of its own: the other may be waiting
    beating.start()
    try:
        yield beating
    except RuntimeError as error:
        if _TIMED_OUT.search(str(error)):
            raise HungRank(f"{beating.who_hangs()}; this rank ends rather than wait for ever") from error
        raise
    finally:
        beating.stop()


def _words(rank: int, life: Life | None, now: float) -> str:
    if life is None:
        return f"rank {rank} never gave a sign of life"
    who = f"rank {rank} (process {life.pid} on {life.host})"
    if now - life.at > _STALE_S:
        return f"{who} has been silent for {now - life.at:.0f} s, last seen {life.doing} at step {life.step}"
    return f"{who} does not go on: it is {life.doing} at step {life.step}"
