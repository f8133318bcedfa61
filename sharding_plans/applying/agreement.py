"""Ranks that decide together: all go on, or all raise the same error."""

from collections.abc import Callable

import torch.distributed as dist

from data.errors import ConfigError, PlanError, ShardlineError


def fail_together(check: Callable[[], str]) -> list[str]:
    """What `check` returned on every rank, in rank order; where it raised on any rank, every rank raises that error.

    A rank that raises alone leaves the others waiting in the next collective until its timeout. Only ShardlineErrors are
    gathered: anything else ends the process, which the other ranks notice. Without a process group, just this rank's.
    """
    error, found = None, ""
    try:
        found = check()
    except ShardlineError as raised:
        error = raised
    if not (dist.is_available() and dist.is_initialized()):
        verdicts = [(error, found)]
    else:
        verdicts = [(error, found)] * dist.get_world_size()
        dist.all_gather_object(verdicts, (error, found))
    for raised, _ in verdicts:
        if raised is not None:
            raise raised
    return [value for _, value in verdicts]


def check_same_plan(fingerprints: list[str]) -> None:
    """Raise PlanError, on every rank alike, where the ranks' plans differ; `fingerprints` in rank order."""
    others = [rank for rank, fingerprint in enumerate(fingerprints) if fingerprint != fingerprints[0]]
    if others:
        raise PlanError(
            f"The ranks hold different sharding plans: ranks {others} differ from rank 0 ({fingerprints[0][:12]}). Every "
            "rank must plan from the same settings, versions and memory sizes, or read the same plan file."
        )


def check_equal_batches(local_batch_size: int) -> None:
    """Raise ConfigError, on every rank alike, unless all ranks train on batches of one size above zero.

    Row-wise tables exchange fixed-size blocks, so that unequal batches fail or hang; an empty batch fails in TorchRec.
    """
    sizes = [int(size) for size in fail_together(lambda: str(local_batch_size))]
    if len(set(sizes)) > 1 or min(sizes) < 1:
        raise ConfigError(
            f"The ranks' local batch sizes are {sizes}; they must be equal and at least 1. Choose a global batch size that "
            "the number of ranks divides."
        )
