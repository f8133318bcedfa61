"""From measured parts of steps to what each thing costs: least squares of relative errors, robust, no cost below 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from sharding_plans.calibrating.calibration import MILLION, Costs, part_ms, rank_ms
from sharding_plans.calibrating.loads import Load

_ROUNDS = 25
_LEAST_MS = 0.02
_USUAL_ERROR = 0.15


@dataclass(frozen=True)
class Sample:
    """A part of a measured step: what each rank had to do, and how long it took in all."""

    by_rank: list[Load]
    ms: float


def fit(samples: Mapping[str, Sequence[Sample]], cores: int) -> Costs:
    """Milliseconds for a million of each thing, part by part.

    How long a part lasts is linear in the costs once it is known which rank takes longest, or that all share the cores; that
    follows from the costs. So the two are found in turn, from the slowest rank being the one with most to do.
    """
    return {part: _fit_part(list(of_part), cores) for part, of_part in samples.items()}


def errors(samples: Sequence[Sample], costs: dict[str, float], cores: int) -> list[float]:
    """Relative errors of the fit, a sample each."""
    return [part_ms(sample.by_rank, costs, cores) / max(sample.ms, _LEAST_MS) - 1 for sample in samples]


def _fit_part(samples: list[Sample], cores: int) -> dict[str, float]:
    names = sorted({name for sample in samples for load in sample.by_rank for name in load})
    if not names:
        return {}
    ms = np.array([max(sample.ms, _LEAST_MS) for sample in samples])
    # Start from what all ranks do on average: no rank is known to be the slowest yet.
    chosen = np.array([_row(sample.by_rank, names, 1 / len(sample.by_rank)) for sample in samples])
    weights, best = 1 / ms, (float("inf"), {})
    for _ in range(_ROUNDS):
        costs = dict(zip(names, _solve(chosen, ms, weights), strict=True))
        estimated = np.array([max(part_ms(sample.by_rank, costs, cores), _LEAST_MS) for sample in samples])
        wrong = np.abs(np.log(estimated / ms))
        if wrong.mean() < best[0]:
            best = (float(wrong.mean()), costs)
        # A factor too much counts as a factor too little does, and what is far off (a disturbed measurement) counts less.
        weights = np.minimum(1.0, _USUAL_ERROR / np.maximum(wrong, 1e-9)) ** 0.5 / np.sqrt(ms * estimated)
        chosen = np.array([_deciding(sample.by_rank, names, costs, cores) for sample in samples])
    return {name: float(f"{cost:.6g}") for name, cost in best[1].items() if cost > 0}


def _solve(rows: NDArray, ms: NDArray, weights: NDArray) -> NDArray:
    """Costs per million; each thing is scaled so that its largest amount is 1, or the solver would lose the small ones."""
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    solution, _ = nnls(rows / scale * weights[:, None], ms * weights, maxiter=1000 * rows.shape[1])
    return solution / scale * MILLION


def _deciding(by_rank: list[Load], names: list[str], costs: dict[str, float], cores: int) -> NDArray:
    """The load that decides how long the part lasts: the slowest rank's, or all ranks' over the cores."""
    each = [rank_ms(load, costs) for load in by_rank]
    if sum(each) / cores > max(each):
        return _row(by_rank, names, 1 / cores)
    return _row([by_rank[int(np.argmax(each))]], names, 1.0)


def _row(loads: list[Load], names: list[str], weight: float) -> NDArray:
    return np.array([weight * sum(load.get(name, 0.0) for load in loads) for name in names])
