"""A loss that is not finite: at which step, on which rows, and how far it has come into the tables."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from data.errors import ShardlineError
from pipeline.training.seen_steps import SeenSteps
from sharding_plans.applying.apply import local_pieces

_SHOWN = 8


@dataclass(frozen=True)
class _Finding:
    """What one rank knows: its first bad step (none: its losses are finite), and what is not finite in its weights."""

    step: int | None
    loss: float
    row_ids: list[int]
    tables: dict[str, list[int]]
    dense: list[str]


def divergence(model: nn.Module, seen: SeenSteps, rows_of_step: Callable[[int], list[int]]) -> ShardlineError:
    """The error to raise on every rank where any rank's loss is not finite; a collective.

    `rows_of_step`: this rank's row ids of a step, read again: keeping them for every step would take memory for a rare case.
    """
    mine = _finding(model, seen, rows_of_step)
    findings: list[_Finding] = [mine] * dist.get_world_size()
    dist.all_gather_object(findings, mine)
    bad = [(found.step, rank) for rank, found in enumerate(findings) if found.step is not None]
    if not bad:
        return ShardlineError("the training loss is not finite, though it is on every rank by itself.")
    _, rank = min(bad)
    return ShardlineError(_words(findings, rank))


def _finding(model: nn.Module, seen: SeenSteps, rows_of_step: Callable[[int], list[int]]) -> _Finding:
    step, loss = seen.first_bad() or (None, 0.0)
    tables: dict[str, list[int]] = {}
    dense: list[str] = []
    for name, weight in model.state_dict().items():
        if "embedding_bags" not in name:
            dense += [] if bool(torch.isfinite(weight).all()) else [name]
            continue
        rows = [
            start + row
            for (start, _), _, piece in local_pieces(weight)
            for row in (~torch.isfinite(piece).all(dim=1)).nonzero().flatten().tolist()
        ]
        if rows:
            tables[name.split(".")[-2]] = rows
    return _Finding(
        step=step,
        loss=loss,
        row_ids=[] if step is None else rows_of_step(step),
        tables=tables,
        dense=dense,
    )


def _words(findings: list[_Finding], rank: int) -> str:
    found = findings[rank]
    tables: dict[str, set[int]] = {}
    for one in findings:
        for table, rows in one.tables.items():
            tables.setdefault(table, set()).update(rows)
    said = [f"{table}: {len(rows)} ({_some(sorted(rows))})" for table, rows in tables.items()]
    dense = sorted({name for one in findings for name in one.dense})
    return (
        f"the training loss is {found.loss} at step {found.step} on rank {rank}: training diverged, and nothing more was "
        f"saved.\nIts batch there has {len(found.row_ids)} rows, by row id {_some(found.row_ids)}.\n"
        f"Table rows that are not finite: {'; '.join(said) or 'none'}. Dense weights that are not finite: "
        f"{', '.join(dense) or 'none'}.\n"
        "Lower optimizer.sparse.lr and optimizer.dense.lr, or lengthen schedule.warmup_steps."
    )


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:_SHOWN])) + (" ..." if len(numbers) > _SHOWN else "")
