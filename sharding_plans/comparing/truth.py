"""Plans whose estimates can be held against measurements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from sharding_plans.files.layout import PlanFile
from sharding_plans.files.scored_plans import score
from sharding_plans.measuring.agreement import Agreement, agreement
from sharding_plans.measuring.measurement import EMBEDDING_PARTS, Measurement

Parts = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One plan: milliseconds by part as TorchRec estimates them, as the calibration does, and as they were measured."""

    name: str
    fingerprint: str
    sharding_types: str
    torchrec: Parts
    calibrated: Parts | None
    measurements: tuple[Measurement, ...]
    was_fitted_to: bool
    """Whether the calibration was fitted to this very plan: such a plan is shown, but does not count."""

    @property
    def measured(self) -> Parts:
        """The median over the times that it was measured."""
        return {part: median(each.slowest_ms[part] for each in self.measurements) for part in EMBEDDING_PARTS}

    @property
    def measured_ms(self) -> float:
        return median(each.embedding_ms for each in self.measurements)

    @property
    def torchrec_ms(self) -> float:
        return sum(self.torchrec.values())

    @property
    def calibrated_ms(self) -> float | None:
        return None if self.calibrated is None else sum(self.calibrated.values())


def truths(plans: Iterable[tuple[str, PlanFile]], records: Iterable[Measurement]) -> list[Truth]:
    """The plans of which the ledger has measurements for the same ranks and batch; equal plans are one, under all their names."""
    known: dict[tuple[str, int, int], list[Measurement]] = {}
    for each in records:
        known.setdefault((each.plan_fingerprint, each.num_ranks, each.global_batch_size), []).append(each)
    same: dict[tuple[str, int, int], list[tuple[str, PlanFile]]] = {}
    for name, plan in plans:
        same.setdefault((plan.fingerprint, plan.num_ranks, plan.global_batch_size), []).append((name, plan))
    return [
        _truth(", ".join(dict.fromkeys(name for name, _ in named)), named[0][1], known[key])
        for key, named in same.items()
        if key in known
    ]


def judged(found: Sequence[Truth]) -> dict[str, Agreement]:
    """By kind of estimate (`torchrec`, `calibrated`): its agreement with the measurements, over held-out plans alone."""
    held_out = [truth for truth in found if not truth.was_fitted_to]
    measured = [truth.measured_ms for truth in held_out]
    result = {"torchrec": agreement([truth.torchrec_ms for truth in held_out], measured)}
    fitted = [truth.calibrated_ms for truth in held_out if truth.calibrated_ms is not None]
    if fitted and len(fitted) == len(held_out):
        result["calibrated"] = agreement(fitted, measured)
    return result


def torchrec_parts(plan: PlanFile) -> Parts:
    """TorchRec's estimates by the parts that are measured, on the slowest rank; of copied tables' optimizer it knows nothing."""
    slowest = max(plan.rank_costs, key=lambda cost: cost.step_ms)
    return {
        "input_dist": max(cost.input_dist_ms for cost in plan.rank_costs),
        "lookup": slowest.forward_ms + slowest.prefetch_ms,
        "output_dist": slowest.output_dist_ms,
        "gradient_dist": slowest.gradient_dist_ms,
        "table_backward": slowest.backward_ms,
        "table_optimizer": 0.0,
    }


def both_estimates(plan: PlanFile) -> dict[str, Parts]:
    """The plan's estimates by kind: `torchrec` always, `calibrated` where its hardware is."""
    plain = score(plan, hardware=replace(plan.hardware, calibration=None))
    calibrated = {} if plan.calibrated_ms is None else {"calibrated": plan.calibrated_ms}
    return {"torchrec": torchrec_parts(plain), **calibrated}


def _truth(name: str, plan: PlanFile, measurements: list[Measurement]) -> Truth:
    estimates = both_estimates(plan)
    origin = (plan.hardware.calibration or {}).get("origin", {}).get(str(plan.num_ranks), {})
    kinds = [table.sharding_type for table in plan.tables]
    return Truth(
        name=name,
        fingerprint=plan.fingerprint,
        sharding_types=", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)),
        torchrec=estimates["torchrec"],
        calibrated=estimates.get("calibrated"),
        measurements=tuple(measurements),
        was_fitted_to=plan.fingerprint in origin.get("plans_fitted_to", ()),
    )
