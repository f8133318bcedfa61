"""Causes that lie in training: a loss or weights that do not move, or move too far."""

import math

from pipeline.auc_doctor.evidence import Evidence
from pipeline.auc_doctor.findings import Finding

WORSE_THAN_BASE_RATE = 1.05
EXPLODED = 10.0  # nats; a model that never learned anything stays below 1
FAR_TOO_HIGH = 2 * math.log(2)  # twice a coin's loss: no sane initial weights start there
UNMOVED = 0.01
TINY_RATE = 1e-7


def infinite_loss(run: Evidence) -> Finding | None:
    """The loss became NaN or infinite."""
    bad = [number for number, loss in enumerate(run.losses) if not math.isfinite(loss)]
    if not bad:
        return None
    before = f", after {run.losses[bad[0] - 1]:.4f}" if bad[0] else ""
    return Finding(
        cause="NaN or infinite loss",
        evidence=f"{len(bad)} of {len(run.losses)} lines of the log; the first is line {bad[0] + 1}{before}",
        advice="Lower both learning rates or lengthen the warm-up; if the first line is bad, look for NaN in the features",
    )


def diverging_rate(run: Evidence) -> Finding | None:
    """The loss ends above that of knowing the base rate and above where it had been, or it exploded on the way."""
    entropy, last, lowest = run.train_entropy, run.last_loss, run.lowest_loss
    highest = max(run.losses, default=math.nan)
    exploded = (
        highest > EXPLODED and last > entropy
    )  # it may come back to the base rate afterwards, with nothing learned
    has_risen = last > WORSE_THAN_BASE_RATE * lowest + run.loss_noise
    ends_high = last > WORSE_THAN_BASE_RATE * entropy + run.loss_noise and (has_risen or last > FAR_TOO_HIGH)
    if not (exploded or ends_high) or not math.isfinite(highest):
        return None
    return Finding(
        cause="learning rate that diverges",
        evidence=f"the training loss ends at {last:.4f}; it had been {lowest:.4f} at its lowest and {highest:.4g} at its "
        f"highest, and knowing the base rate alone gives {entropy:.4f} (highest rates: {_rates(run)})",
        advice="Lower optimizer.sparse.lr and optimizer.dense.lr by a factor of 10 each, one at a time",
    )


def idle_rate(run: Evidence) -> Finding | None:
    """The loss stays where the initial weights put it."""
    tiny = [name for name, rate in run.learning_rates.items() if rate < TINY_RATE]
    if tiny:
        return Finding(
            cause="learning rate that does nothing",
            evidence=f"the highest {' and '.join(tiny)} rate in effect was {min(run.learning_rates.values()):.1e}",
            advice="Check the schedule: a warm-up longer than the run, or a decay that begins too early, leaves no rate",
        )
    first, last = run.first_loss, run.last_loss
    if len(run.losses) < 2 or not math.isfinite(last) or not last > 1.03 * run.train_entropy + run.loss_noise:
        return None
    if abs(first - last) > UNMOVED * first:
        return None
    return Finding(
        cause="learning rate that does nothing",
        evidence=f"the training loss went from {first:.4f} to {last:.4f} and never came down to that of knowing the base rate "
        f"alone, {run.train_entropy:.4f} (highest rates: {_rates(run)})",
        advice="Raise the learning rates by a factor of 10, and check that the schedule's warm-up ends within the run",
    )


def idle_tables(run: Evidence) -> Finding | None:
    """Tables whose weights are the initial ones to the last bit."""
    idle = [table.name for table in run.tables if table.is_updated is False]
    if not idle:
        return None
    shown = ", ".join(idle[:8]) + (f" and {len(idle) - 8} more" if len(idle) > 8 else "")
    return Finding(
        cause="tables never updated",
        evidence=f"{len(idle)} of {len(run.tables)} tables hold exactly the weights they started with: {shown}",
        advice="Check that these tables' optimizer is stepped and its learning rate is not 0, and that their features reach the "
        "model",
    )


def _rates(run: Evidence) -> str:
    return ", ".join(f"{name} {rate:.1e}" for name, rate in run.learning_rates.items()) or "not known"
