"""Fitting the planner's cost model to this machine: probes and collectives on live ranks, one profile file."""

import os
from pathlib import Path

import yaml

from data.errors import PlanError
from pipeline.calibrate_config import CalibrateConfig
from pipeline.calibrating.calibrator import Bench, calibrated_profile, measure_probes
from pipeline.calibrating.probes import KINDS, probes
from pipeline.measuring.plan_measurement import Steps
from pipeline.ranks import joined_ranks
from sharding_plans.machines.hardware import HardwareProfile, profile_to_dict, read_profile
from sharding_plans.machines.this_machine import measure_this_machine
from sharding_plans.measuring.ledger import append
from sharding_plans.measuring.measurement import PARTS
from sharding_plans.tables.fused_algorithms import ALGORITHMS
from sharding_plans.types import SPLITS_COLUMNS


def run(config: CalibrateConfig) -> int:
    """Measure on this rank, together with the others; 0 when the profile is written."""
    with joined_ranks(config.device, config.threads_per_rank) as ranks:
        before = ranks.on_zero(lambda: read_profile(Path(config.out)) if Path(config.out).exists() else None)
        bench = Bench(
            ranks=ranks,
            hardware=ranks.on_zero(lambda: measure_this_machine("this-machine")),
            optimizer=config.optimizer,
            steps=Steps(warm=config.warm_steps, measured=config.num_steps, is_uncut_wanted=False),
        )
        measured = measure_probes(bench, probes(ranks.num_ranks, config.num_plans, config.seed, _kinds(config)))
        profile = calibrated_profile(bench, measured, before)
        if ranks.is_zero:
            for _, measurement in measured:
                append(config.ledger, measurement)
            _tell(profile, write_profile(profile, config.out), str(ranks.num_ranks))
    return 0


def write_profile(profile: HardwareProfile, path: str | Path) -> Path:
    """The path, under which the profile now lies whole; PlanError where it cannot be written."""
    target = Path(path)
    aside = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            yaml.safe_dump(profile_to_dict(profile), file, sort_keys=False, allow_unicode=True)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise PlanError(f"The hardware profile cannot be written to {target}: {error}.") from error
    return target


def _kinds(config: CalibrateConfig) -> tuple[str, ...]:
    """The sharding types that train the tables as the unsharded model is trained."""
    per_row = ALGORITHMS[config.optimizer.algorithm].per_row
    return tuple(kind for kind in KINDS if not (per_row and kind in SPLITS_COLUMNS))


def _tell(profile: HardwareProfile, path: Path, num_ranks: str) -> None:
    assert profile.calibration is not None
    for name, line in profile.calibration["collectives"][num_ranks].items():
        print(f"{name:16} {line['latency_us']:8.0f} us and {line['gb_per_s']:6.2f} GB/s")
    for part, error in profile.calibration["origin"][num_ranks]["median_error_left"].items():
        print(f"{PARTS[part]:16} {error:8.1%} median error over the plans that it was fitted to")
    print(f"profile  {path}")
