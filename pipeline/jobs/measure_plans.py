"""Plans measured on live ranks: planned or read, trained for some steps, written to the ledger, held against their estimates."""

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from data.batch import Batch
from data.errors import PlanError
from pipeline.assembly import assemble
from pipeline.measuring.plan_measurement import Steps, measure_plan
from pipeline.plan_job_config import MeasurePlansConfig, names
from pipeline.plan_requests import model_tables, reserved, within
from pipeline.ranks import Ranks, joined_ranks
from pipeline.reports.plan_measurements import measurements_report
from pipeline.reports.writing import write_report
from pipeline.settings import fingerprint, to_plain
from pipeline.sources import Source, open_source
from sharding_plans.comparing.truth import both_estimates, truths
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_file import load, save
from sharding_plans.files.plan_fits import check_fits
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.machines.profiles import load_profile
from sharding_plans.measuring.ledger import append, read
from sharding_plans.measuring.measurement import Measurement
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategy_files import load_strategy

Named = list[tuple[str, PlanFile]]


def run(config: MeasurePlansConfig) -> int:
    """Measure every plan on this rank, together with the others; 0 when all are in the ledger."""
    training = config.training
    with joined_ranks(config.device, training.threads_per_rank, training.timeout_s) as ranks:
        source = ranks.together(lambda: open_source(config.data, training.seed))
        plans = ranks.on_zero(lambda: _plans(config, ranks))
        batches = ranks.together(lambda: _batches(config, source, ranks))
        measured = [_measured(config, source, ranks, batches, name, plan) for name, plan in plans]
        ranks.on_zero(lambda: _report(config, plans, measured))
    return 0


def _plans(config: MeasurePlansConfig, ranks: Ranks) -> Named:
    """The given plan files, estimated for the given hardware, and the strategies' plans; each must fit the live model."""
    hardware = load_profile(config.hardware)
    task = assemble(config, open_source(config.data, config.training.seed), ranks.device.type)
    batch, found = config.training.global_batch_size, []
    for path in names(config.plans):
        plan = load(path)
        check_fits(plan, task, num_ranks=ranks.num_ranks, ranks_per_host=ranks.local_num_ranks)
        found.append((Path(path).stem, score(plan, hardware=hardware, global_batch_size=batch)))
    model = model_tables(config, ranks.device.type)
    for name in config.strategy_names():
        request = PlanRequest(
            model=model,
            hardware=replace(hardware, ranks_per_host=ranks.local_num_ranks),
            num_ranks=ranks.num_ranks,
            global_batch_size=batch,
            strategy=within(load_strategy(name), config.sharding),
            reserved_fraction=reserved(config.reserved_fraction, config.sharding),
        )
        plan = make_plan_file(request)
        save(plan, Path(config.out) / "plans" / (re.sub(r"[^\w.-]+", "-", Path(name).stem) + ".json"))
        found.append((Path(name).stem, plan))
    return found


def _batches(config: MeasurePlansConfig, source: Source, ranks: Ranks) -> list[Batch]:
    batches = iter(source.train_batches(config.training, ranks))
    found = [batch.to(ranks.device) for batch in islice(batches, config.num_batches)]
    if not found:
        raise PlanError(
            f"The train split has fewer rows than a step of {config.training.global_batch_size}: none to measure."
        )
    return found


def _measured(
    config: MeasurePlansConfig, source: Source, ranks: Ranks, batches: list[Batch], name: str, plan: PlanFile
) -> Measurement:
    found = measure_plan(
        plan,
        assemble(config, source, ranks.device.type),
        batches,
        config,
        ranks,
        Steps(warm=config.warm_steps, measured=config.num_steps),
        name=name,
        data=_data_facts(source),
    )
    if ranks.is_zero:
        found = replace(found, estimates=both_estimates(plan))
        print(
            f"{name}: {found.step_p50_ms:.2f} ms a step, {found.embedding_ms:.2f} ms of it in the embedding part",
            flush=True,
        )
    ranks.on_zero(lambda: append(config.ledger, found))
    return found


def _data_facts(source: Source) -> dict[str, Any]:
    """What tells data apart: the fingerprint, and the mean ids of a bag by feature."""
    pooling = {feature.name: round(feature.pooling_factor, 3) for feature in source.schema.sparse}
    return {"source": source.config.source, "fingerprint": source.fingerprint, "ids_per_bag": pooling}


def _report(config: MeasurePlansConfig, plans: Named, measured: list[Measurement]) -> None:
    records, problems = read(config.ledger)
    found = truths(plans, records)
    facts = {
        "Ledger": f"{config.ledger}, {len(records)} records",
        "Settings": f"fingerprint {fingerprint(to_plain(config))}",
    }
    page = write_report(config.out, measurements_report(measured, found, facts, problems))
    print(*problems, f"report  {page}", sep="\n")
