"""From a planning job's settings to what is asked of the planner."""

from dataclasses import replace

from pipeline.assembly import assemble, looked_up
from pipeline.config import TrainConfig
from pipeline.data_statistics import access_of_source
from pipeline.plan_job_config import RESERVED_FRACTION, ComparePlansConfig, PlanJobConfig, names
from pipeline.sources import open_source
from sharding_plans.comparing.compare import FitQuestion, PlannedCase
from sharding_plans.config import PlanConfig
from sharding_plans.files.plan_file import load
from sharding_plans.machines.hardware import HardwareProfile, profile_names, shipped_profile
from sharding_plans.machines.profiles import load_profile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategies import Strategy, TableRule
from sharding_plans.strategies.strategy_files import load_strategy
from sharding_plans.tables.from_model import describe_tables
from sharding_plans.tables.table_specs import ModelTables
from sharding_plans.types import SHARDING_TYPES

Clusters = list[tuple[int, HardwareProfile]]


def model_tables(config: TrainConfig, device: str, *, data_statistics: bool = True) -> ModelTables:
    """The tables of the ranker that the settings describe, with its optimizer and what is known of the data.

    Without `data_statistics` every bag is taken to hold one id, and every row to be as likely as any other.
    """
    source = open_source(config.data, seed=config.training.seed)
    task = assemble(config, source, device)
    if not data_statistics:
        return describe_tables(task)
    pooling = {feature.name: feature.pooling_factor for feature in looked_up(task)}
    return describe_tables(task, pooling, access_of_source(source))


def plan_request(config: PlanJobConfig) -> PlanRequest:
    """What `shardline plan` plans."""
    hardware = load_profile(config.hardware or "this-machine")
    if config.ranks_per_host is not None:
        hardware = replace(hardware, ranks_per_host=config.ranks_per_host)
    hardware = _with_memory(hardware, config.sharding)
    return PlanRequest(
        model=model_tables(config, hardware.device, data_statistics=config.data_statistics),
        hardware=hardware,
        num_ranks=config.ranks,
        global_batch_size=config.global_batch_size or config.training.global_batch_size,
        strategy=within(load_strategy(config.strategy), config.sharding),
        reserved_fraction=reserved(config.reserved_fraction, config.sharding),
    )


def planned_cases(
    config: ComparePlansConfig, model: ModelTables, clusters: list[tuple[int, HardwareProfile]]
) -> list[PlannedCase]:
    """What `shardline compare-plans` puts side by side: batches x clusters x strategies, then plan files."""
    strategies = [within(load_strategy(name), config.sharding) for name in config.strategy_names()]
    cases = []
    for batch in config.global_batch_sizes or (config.training.global_batch_size,):
        for num_ranks, hardware in clusters:
            request = PlanRequest(
                model=model,
                hardware=hardware,
                num_ranks=num_ranks,
                global_batch_size=batch,
                strategy=strategies[0] if strategies else Strategy(name="none"),
                reserved_fraction=reserved(config.reserved_fraction, config.sharding),
            )
            cases += [
                PlannedCase(request=request.change(strategy=one), max_remedies=config.max_remedies)
                for one in strategies
            ]
    return cases + [PlannedCase(plan=load(path), plan_path=path) for path in names(config.plans)]


def fit_questions(
    config: ComparePlansConfig, model: ModelTables, clusters: list[tuple[int, HardwareProfile]]
) -> list[FitQuestion]:
    """One question for each hardware that Shardline knows or the user brought."""
    if not config.what_if:
        return []
    known = {name: shipped_profile(name) for name in profile_names()}
    known |= {hardware.name: hardware for _, hardware in clusters}
    batch = (config.global_batch_sizes or (config.training.global_batch_size,))[0]
    kept = reserved(config.reserved_fraction, config.sharding)
    return [
        FitQuestion(model=model, hardware=profile, global_batch_size=batch, reserved_fraction=kept)
        for profile in known.values()
    ]


def profiles_of(config: ComparePlansConfig) -> Clusters:
    """The clusters with their hardware profiles, each profile read once."""
    parsed = config.parsed_clusters()
    known = {
        name: _with_memory(load_profile(name), config.sharding) for name in dict.fromkeys(name for _, name in parsed)
    }
    return [(num_ranks, known[name]) for num_ranks, name in parsed]


def within(strategy: Strategy, sharding: PlanConfig) -> Strategy:
    """The strategy inside what the training job's settings allow: its sharding types and its rules per table."""
    types = strategy.sharding_types
    if set(sharding.sharding_types) != set(SHARDING_TYPES):
        allowed = sharding.sharding_types
        types = tuple(kind for kind in types or allowed if kind in allowed) or types
    rules = {
        pattern: TableRule(
            sharding_types=rule.sharding_types, compute_kernels=rule.compute_kernels, min_partition=rule.min_partition
        )
        for pattern, rule in sharding.tables.items()
    }
    return replace(strategy, sharding_types=types, tables={**strategy.tables, **rules})


def reserved(given: float | None, sharding: PlanConfig) -> float:
    """The share of memory to keep free."""
    return given if given is not None else sharding.reserved_fraction or RESERVED_FRACTION


def _with_memory(hardware: HardwareProfile, sharding: PlanConfig) -> HardwareProfile:
    """The hardware with the memory per rank that the training job's settings name, if they do."""
    if sharding.hbm_gib is not None and hardware.device == "cuda":
        hardware = replace(hardware, hbm_gib=sharding.hbm_gib)
    if sharding.ddr_gib is not None:
        hardware = replace(hardware, host_memory_gib=sharding.ddr_gib * hardware.ranks_per_host)
    return hardware
