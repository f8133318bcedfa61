"""A recorded step taken apart: milliseconds by part of the model, by kind of work, by operator."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MARK = "shardline: "
STEP = "step"
OUTSIDE = "input, loop and the rest"
BACKWARD = "autograd::engine::evaluate_function"
OPTIMIZER = "dense optimizer"

MATRIX, TABLE, COMPILED, COPY, COLLECTIVE, OTHER, PYTHON = (
    "matrix products",
    "table lookups and updates",
    "compiled loops",
    "copies and layout",
    "collectives",
    "other operators",
    "between operators (Python, autograd)",
)
_KINDS = (
    (
        MATRIX,
        ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "_linear_pointwise", "mkldnn_linear_backward_weights"),
    ),
    (
        COPY,
        ("copy_", "cat", "clone", "contiguous", "index_select", "gather", "index_put_", "_index_put_impl_", "split"),
    ),
    (COPY, ("fill_", "to_mkldnn", "to_dense")),
)
_COMPILED = "## Call CompiledFxGraph"
"""How the profiler names a run of what torch.compile has made."""


@dataclass
class PartTime:
    """Milliseconds a step in one part, over the operators of each pass; `python` of them passed between operators."""

    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0
    python: float = 0.0
    device: float = 0.0
    """Milliseconds of kernels on the GPU, beside the host's."""

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimizer


@dataclass
class OperatorTime:
    """Milliseconds and calls a step of one operator, what it calls left out."""

    ms: float = 0.0
    calls: float = 0.0


@dataclass
class StepParts:
    """The recorded steps of one rank, averaged."""

    first_step: int
    num_steps: int
    step_ms: float
    """From the start of the first step to the end of the last, over their number."""
    parts: dict[str, PartTime] = field(default_factory=dict)
    kinds: dict[str, float] = field(default_factory=dict)
    operators: dict[str, OperatorTime] = field(default_factory=dict)


def parts_of_steps(events: Iterable[Any], *, first_step: int) -> StepParts:
    """The parts of the steps that the profiler recorded.

    What runs below a mark belongs to its part. A piece of the backward pass carries the number of the forward operator that it
    belongs to, and so falls to that operator's part; FBGEMM updates tables in there. Time that no operator took, between two
    steps too, is Python's.
    """
    events = [event for event in events if event.device_type.name == "CPU"]
    steps = [event for event in events if event.name == MARK + STEP]
    num_steps, thread = len(steps), steps[0].thread
    forward_parts = _forward_parts(events)
    found = StepParts(first_step=first_step, num_steps=num_steps, step_ms=_step_ms(steps))
    parts: dict[str, PartTime] = defaultdict(PartTime)
    kinds: dict[str, float] = defaultdict(float)
    operators: dict[str, OperatorTime] = defaultdict(OperatorTime)
    for event in events:
        if event.thread != thread and not _above(event, BACKWARD):
            continue  # a thread of its own, such as a reader's, beside the step
        ms = event.self_cpu_time_total / 1000 / num_steps
        part, phase = _place(event, forward_parts)
        kind = _kind(event.name)
        time = parts[part]
        setattr(time, phase, getattr(time, phase) + ms)
        time.python += ms if kind == PYTHON else 0.0
        time.device += getattr(event, "self_device_time_total", 0.0) / 1000 / num_steps
        kinds[kind] += ms
        if kind != PYTHON:
            operators[event.name].ms += ms
            operators[event.name].calls += 1 / num_steps
    rest = found.step_ms - sum(kinds.values())
    if rest > 0:  # the time between two steps, outside all operators
        parts[OUTSIDE].forward += rest
        parts[OUTSIDE].python += rest
        kinds[PYTHON] += rest
    found.parts, found.kinds, found.operators = dict(parts), dict(kinds), dict(operators)
    return found


def _step_ms(steps: list[Any]) -> float:
    """From the start of the first to the end of the last, over their number: what the parts are summed over, too."""
    began = min(event.time_range.start for event in steps)
    ended = max(event.time_range.end for event in steps)
    return (ended - began) / len(steps) / 1000


def _forward_parts(events: list[Any]) -> dict[int, str]:
    """The part of each forward operator, by the number that its backward pass carries too.

    Operators without a backward pass show the number that the next one with a backward pass will take: the last one counts.
    """
    found = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and not _above(event, BACKWARD):
            part = _marked_part(event)
            if part is not None:
                found[event.sequence_nr] = part
    return found


def _place(event: Any, forward_parts: dict[int, str]) -> tuple[str, str]:
    """The part that an event belongs to, and the pass."""
    backward = _above(event, BACKWARD)
    if backward is not None:
        return forward_parts.get(backward.sequence_nr, OUTSIDE), "backward"
    part = _marked_part(event)
    return part or OUTSIDE, "optimizer" if part == OPTIMIZER else "forward"


def _marked_part(event: Any) -> str | None:
    marked = _above(event, MARK)
    part = marked.name.removeprefix(MARK) if marked is not None else None
    return None if part == STEP else part


def _above(event: Any, prefix: str) -> Any:
    """The event, or the nearest one around it, whose name starts so; None where there is none."""
    while event is not None and not event.name.startswith(prefix):
        event = event.cpu_parent
    return event


def _kind(name: str) -> str:
    if name.startswith(_COMPILED):
        return COMPILED
    space, _, operator = name.rpartition("::")
    if not space or space.startswith("autograd") or name.startswith(("##", MARK, "ProfilerStep")):
        return PYTHON
    if space == "c10d" or name.startswith(("gloo:", "nccl:")):
        return COLLECTIVE
    for kind, names in _KINDS:
        if operator in names:
            return kind
    if space == "fbgemm":
        return TABLE if "embedding" in operator else COPY
    return OTHER
