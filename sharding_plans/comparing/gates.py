"""Limits on how far plan B may fall behind plan A: `peak_hbm_gib > +5%`. Light: no torch here."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from data.errors import PlanError
from sharding_plans.comparing.diff import PlanDiff
from sharding_plans.files.summary import GIB
from sharding_plans.names import unknown_name

_GATE = re.compile(r"^\s*(\w+)\s*(>=|<=|>|<)\s*([+-]?)(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(%?)\s*$")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
SUMMARY_METRICS = (
    "step_ms",
    "input_dist_ms",
    "forward_ms",
    "output_dist_ms",
    "backward_ms",
    "gradient_dist_ms",
    "prefetch_ms",
    "samples_per_s",
    "peak_hbm_gib",
    "mean_hbm_gib",
    "peak_ddr_gib",
    "mean_ddr_gib",
    "memory_share",
    "imbalance",
    "sent_mib",
)
DIFF_METRICS = ("tables_changed", "moved_gib")
METRICS = (*SUMMARY_METRICS, *DIFF_METRICS)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One limit. With a sign it is about the change from A to B (`+5%`, `+0.5`), without one about B's own figure."""

    text: str
    metric: str
    comparison: str
    limit: float
    is_change: bool
    is_percent: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a gate: the figure it looked at, and whether it fires."""

    gate: Gate
    value: float
    fires: bool


def parse_gate(text: str) -> Gate:
    """The gate that a text such as `peak_hbm_gib > +5%` describes; PlanError says what is wrong and which figures there are."""
    match = _GATE.match(text)
    if match is None:
        raise PlanError(
            f'"{text}" is no gate. Write a figure, a comparison (> >= < <=) and a limit: "peak_hbm_gib > +5%" (change from A '
            f'to B), "step_ms > +0.5" (change), "imbalance > 0.2" (B alone). Figures: {", ".join(METRICS)}.'
        )
    metric, comparison, sign, number, percent = match.groups()
    if metric not in METRICS:
        raise PlanError(f'Gate "{text}": ' + unknown_name("figure", metric, METRICS, shown=len(METRICS)))
    if percent and not sign:
        raise PlanError(
            f'Gate "{text}": a percentage is a change and needs a sign, as in "{metric} {comparison} +{number}%".'
        )
    if sign and metric in DIFF_METRICS:
        raise PlanError(
            f'Gate "{text}": {metric} is about the difference already; write "{metric} {comparison} {number}".'
        )
    limit = float(number) * (-1 if sign == "-" else 1)
    return Gate(
        text=text, metric=metric, comparison=comparison, limit=limit, is_change=bool(sign), is_percent=bool(percent)
    )


def judge(gate: Gate, diff: PlanDiff) -> Verdict:
    """Whether the gate fires on the difference. A percentage of a figure that is 0 in A is infinite, unless B's is 0 too."""
    value = _value(gate, diff)
    return Verdict(gate=gate, value=value, fires=_OPERATORS[gate.comparison](value, gate.limit))


def _value(gate: Gate, diff: PlanDiff) -> float:
    if gate.metric == "tables_changed":
        return float(len(diff.tables))
    if gate.metric == "moved_gib":
        return diff.moved_bytes / GIB
    before, after = float(getattr(diff.a, gate.metric)), float(getattr(diff.b, gate.metric))
    if not gate.is_change:
        return after
    if not gate.is_percent:
        return after - before
    if before == 0:
        return 0.0 if after == 0 else math.copysign(math.inf, after)
    return (after / before - 1) * 100
