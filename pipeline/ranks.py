"""The ranks of a job: joining their process group, sharing the cores, failing together."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from pipeline.allocation import keep_freed_memory
from pipeline.device import backend_of, choose_device
from pipeline.launch import is_rank
from sharding_plans.applying.agreement import fail_together

T = TypeVar("T")
GROUP_TIMEOUT_S = 600.0
_PARENT_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among the processes of its job."""

    rank: int
    num_ranks: int
    local_num_ranks: int
    device: torch.device
    timeout_s: float = GROUP_TIMEOUT_S

    @property
    def is_zero(self) -> bool:
        return self.rank == 0

    def own_group(self) -> dist.ProcessGroup | None:
        """A gloo group of all ranks beside the job's own, for CPU tensors; None alone. A collective."""
        if self.num_ranks == 1:
            return None
        return dist.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout_s))  # pyright: ignore[reportReturnType]

    def together(self, step: Callable[[], T]) -> T:
        """What `step` returns on this rank; where it fails for the user's mistake on any rank, all ranks raise the same.

        A collective: every rank calls it. Without it, a rank that raises alone leaves the others waiting for it.
        """
        results: list[T] = []

        def attempt() -> str:
            results.append(step())
            return ""

        fail_together(attempt)
        return results[0]

    def largest(self, value: float) -> float:
        """The largest of all ranks' values, on every rank; a collective."""
        values = [value] * self.num_ranks
        dist.all_gather_object(values, value)
        return max(values)

    def on_zero(self, step: Callable[[], T]) -> T:
        """What `step` returns on rank 0, on every rank; its failure is every rank's."""
        box = [self.together(lambda: step() if self.is_zero else None)]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # pyright: ignore[reportReturnType]


@contextmanager
def joined_ranks(
    device_choice: str, threads_per_rank: int | None = None, timeout_s: float = GROUP_TIMEOUT_S
) -> Iterator[Ranks]:
    """Join the process group that the launcher describes (a group of one without a launcher); leave it at the end.

    A collective that waits for longer than `timeout_s` seconds fails.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_num_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = choose_device(device_choice, local_rank)
    torch.set_num_threads(threads_per_rank or max(1, _num_cores() // local_num_ranks))
    if device.type == "cpu":
        keep_freed_memory()
    _end_with_parent()
    _join(device, timedelta(seconds=timeout_s))
    try:
        yield Ranks(
            rank=dist.get_rank(),
            num_ranks=dist.get_world_size(),
            local_num_ranks=local_num_ranks,
            device=device,
            timeout_s=timeout_s,
        )
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(device: torch.device, timeout: timedelta) -> None:
    if is_rank():
        dist.init_process_group(backend_of(device), timeout=timeout)
        return
    store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group(backend_of(device), store=store, rank=0, world_size=1, timeout=timeout)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _end_with_parent() -> None:
    """End this rank when its launcher is gone, so that a killed launcher leaves no orphan behind."""
    if not is_rank():
        return
    parent = os.getppid()

    def watch() -> None:
        ended = threading.Event()
        while os.getppid() == parent:
            ended.wait(_PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def peak_rss_gib() -> float:
    """The most memory that this process has held, in GiB, as the operating system counted it (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
