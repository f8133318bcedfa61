"""The figures by which plans are compared, all estimated. Light: no torch here."""

from dataclasses import dataclass

from sharding_plans.files.layout import PlanFile
from sharding_plans.files.wire_bytes import sent_bytes_by_rank

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one plan amounts to. Times and memory are TorchRec's estimates, bytes on the wire Shardline's."""

    step_ms: float
    """The slowest rank: lookup, output dist, backward, gradient dist and prefetch one after the other."""
    input_dist_ms: float
    """Of the rank where it takes longest; hidden behind the batch before, so no part of `step_ms`."""
    forward_ms: float
    output_dist_ms: float
    backward_ms: float
    gradient_dist_ms: float
    prefetch_ms: float
    """The five parts of the slowest rank's step."""
    samples_per_s: float
    """Rows of the global batch per second of the slowest rank's step: the embedding part alone."""
    peak_hbm_gib: float
    mean_hbm_gib: float
    peak_ddr_gib: float
    mean_ddr_gib: float
    """Memory of tables, optimizer state, input and output buffers, of the fullest rank and on average."""
    capacity_gib: float
    """What tables may fill of a rank's main memory (HBM on a GPU, DDR on a CPU)."""
    memory_share: float
    """Peak of the main memory as a share of that."""
    imbalance: float
    """How much longer the slowest rank takes than the average one, as a share (0: all equal)."""
    sent_mib: float
    """Bytes that the busiest rank sends per step."""
    cost_per_billion_samples: float | None
    """Price of all ranks for as long as a billion rows take, in the currency of the profile."""
    fits: bool


def summarise(plan: PlanFile) -> Summary:
    """The figures of one plan."""
    costs, slowest = plan.rank_costs, plan.rank_costs[plan.slowest_rank]
    mean_ms = sum(cost.step_ms for cost in costs) / len(costs)
    hbm, ddr = [cost.hbm_bytes / GIB for cost in costs], [cost.ddr_bytes / GIB for cost in costs]
    capacity = plan.capacity_bytes / GIB
    peak = max(ddr) if plan.hardware.device == "cpu" else max(hbm)
    samples_per_s = plan.global_batch_size / plan.step_ms * 1000 if plan.step_ms else 0.0
    return Summary(
        step_ms=plan.step_ms,
        **_parts(plan),
        samples_per_s=samples_per_s,
        peak_hbm_gib=max(hbm),
        mean_hbm_gib=sum(hbm) / len(hbm),
        peak_ddr_gib=max(ddr),
        mean_ddr_gib=sum(ddr) / len(ddr),
        capacity_gib=capacity,
        memory_share=peak / capacity if capacity else float("inf") if peak else 0.0,
        imbalance=slowest.step_ms / mean_ms - 1 if mean_ms else 0.0,
        sent_mib=max(sent_bytes_by_rank(plan)) / 2**20,
        cost_per_billion_samples=_cost(plan, samples_per_s),
        fits=plan.fits,
    )


def _parts(plan: PlanFile) -> dict[str, float]:
    costs, slowest, fitted = plan.rank_costs, plan.rank_costs[plan.slowest_rank], plan.calibrated_ms
    if fitted is not None:
        return {
            "input_dist_ms": fitted["input_dist"],
            "forward_ms": fitted["lookup"],
            "output_dist_ms": fitted["output_dist"],
            "backward_ms": fitted["table_backward"] + fitted["table_optimizer"],
            "gradient_dist_ms": fitted["gradient_dist"],
            "prefetch_ms": 0.0,
        }
    return {
        "input_dist_ms": max(cost.input_dist_ms for cost in costs),
        "forward_ms": slowest.forward_ms,
        "output_dist_ms": slowest.output_dist_ms,
        "backward_ms": slowest.backward_ms,
        "gradient_dist_ms": slowest.gradient_dist_ms,
        "prefetch_ms": slowest.prefetch_ms,
    }


def _cost(plan: PlanFile, samples_per_s: float) -> float | None:
    price = plan.hardware.price_per_rank_hour
    if price is None or not samples_per_s:
        return None
    return 1e9 / samples_per_s / 3600 * price * plan.num_ranks
