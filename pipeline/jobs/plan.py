"""Planning for any hardware, from a laptop: no GPU, no process group, tables on the meta device."""

import sys

from tqdm import tqdm

from data.errors import PlanError
from pipeline.plan_job_config import PlanJobConfig
from pipeline.plan_requests import plan_request
from sharding_plans.comparing.data_effect import data_effect
from sharding_plans.explaining.explain import ExplainedPlanError, explain
from sharding_plans.files.layout import PlanFile
from sharding_plans.files.plan_file import load, save
from sharding_plans.files.plan_text import plan_text
from sharding_plans.files.scored_plans import make_plan_file, score
from sharding_plans.infeasible import InfeasiblePlan
from sharding_plans.machines.profiles import load_profile
from sharding_plans.planning.request import PlanRequest
from sharding_plans.strategies.strategy_constraints import proposal_limit


def run(config: PlanJobConfig) -> int:
    """Plan, or score the given plan; print it and write it. 0 when the plan fits its hardware, 1 when a scored one does not."""
    request = plan_request(config) if config.plan is None else None
    plan = _scored(config) if request is None else _planned(request)
    print(plan_text(plan))
    effect = data_effect(request, plan) if request is not None else None
    if effect is not None:
        print(effect.in_words)
    if config.out is not None:
        print(f"\nplan  {save(plan, config.out)}")
    return 0 if plan.fits else 1


def _scored(config: PlanJobConfig) -> PlanFile:
    assert config.plan is not None
    hardware = load_profile(config.hardware) if config.hardware is not None else None
    return score(load(config.plan), hardware=hardware, global_batch_size=config.global_batch_size)


def _planned(request: PlanRequest) -> PlanFile:
    """The plan; where there is none, an error that says why and what would help."""
    limit = len(request.strategy.proposers) * proposal_limit(len(request.model.tables), request.num_ranks)
    with _progress(limit) as bar:
        try:
            return make_plan_file(request, on_proposal=bar.update)
        except InfeasiblePlan as error:
            bar.set_description("no plan; looking for remedies")
            raise ExplainedPlanError(explain(request, error)) from error
        except PlanError:
            bar.leave = False
            raise


def _progress(limit: int) -> tqdm:
    """Proposals as they come; how many there will be is not known, only how many at most."""
    slow = 0.2 if sys.stderr.isatty() else 10.0
    text = "{desc}: {n_fmt} proposals (at most " + f"{limit:,}" + "), {elapsed}"
    return tqdm(desc="planning", unit="proposal", leave=False, mininterval=slow, maxinterval=slow, bar_format=text)
