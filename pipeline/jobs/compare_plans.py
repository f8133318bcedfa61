"""Plans side by side: strategies, clusters, batches and plan files, in one report."""

import re
import sys
from pathlib import Path

from tqdm import tqdm

from pipeline.plan_job_config import ComparePlansConfig
from pipeline.plan_requests import fit_questions, model_tables, planned_cases, profiles_of, reserved
from pipeline.reports.plan_comparison import comparison_report
from pipeline.reports.plan_comparison_words import verdict
from pipeline.reports.writing import write_report
from pipeline.settings import fingerprint, to_plain
from sharding_plans.comparing.compare import PlannedCase, compare
from sharding_plans.comparing.comparison import Case, Comparison, Failure
from sharding_plans.comparing.data_effect import DataEffect, data_effect
from sharding_plans.comparing.truth import Truth, truths
from sharding_plans.files.plan_file import save
from sharding_plans.measuring.ledger import read


def run(config: ComparePlansConfig) -> int:
    """Plan every case, write the report and the plans; 0 when at least one plan fits, 1 when none does."""
    clusters = profiles_of(config)
    device = "cuda" if any(hardware.device == "cuda" for _, hardware in clusters) else "cpu"
    model = model_tables(config, device, data_statistics=config.data_statistics)
    cases = planned_cases(config, model, clusters)
    questions = fit_questions(config, model, clusters)
    slow = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(
        total=len(cases) + len(questions), desc="planning", leave=False, mininterval=slow, maxinterval=slow
    ) as bar:
        comparison = compare(
            model,
            cases,
            questions,
            reserved_fraction=reserved(config.reserved_fraction, config.sharding),
            num_processes=config.num_processes,
            on_done=bar.update,
            origin=_origin(config),
        )
    page = write_report(
        config.out, comparison_report(comparison, _truths(config, comparison), _effect(cases, comparison))
    )
    _save_plans(comparison, Path(config.out) / "plans")
    _tell(comparison, page)
    return 0 if comparison.ranking else 1


def _origin(config: ComparePlansConfig) -> tuple[tuple[str, str], ...]:
    model = (
        f"{config.model.ranker}, tables of {config.model.embedding_dim} columns, {config.optimizer.sparse.algorithm}"
    )
    return (("Model", model), ("Settings", f"fingerprint {fingerprint(to_plain(config))}"))


def _truths(config: ComparePlansConfig, comparison: Comparison) -> list[Truth]:
    """The plans that the ledger has measurements of; its damaged lines are told."""
    if config.ledger is None:
        return []
    records, problems = read(config.ledger)
    print(*(f"warning: {problem}" for problem in problems), sep="\n", end="\n" if problems else "")
    return truths([(case.strategy, case.plan) for case in comparison.ranking if case.plan is not None], records)


def _effect(cases: list[PlannedCase], comparison: Comparison) -> DataEffect | None:
    """What the statistics of the data change of the first plan that a search found."""
    requests = {request.label: request for case in cases if (request := case.request) is not None}
    for case in comparison.ranking:
        if case.label in requests:
            return data_effect(requests[case.label].change(global_batch_size=case.global_batch_size), case.plan)
    return None


def _save_plans(comparison: Comparison, directory: Path) -> None:
    for case in comparison.ranking:
        if case.plan is not None:
            save(case.plan, directory / f"{_file_name(case)}.json")


def _file_name(case: Case) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{case.strategy}-{case.num_ranks}x{case.hardware}-{case.global_batch_size}")


def _first_remedy(failure: Failure) -> str:
    """The smallest change that helps, or the reason where none was found."""
    return f"a verified remedy: {failure.remedies[0][0]}" if failure.remedies else failure.headline


def _tell(comparison: Comparison, page: Path) -> None:
    print(verdict(comparison).replace("**", "").replace("`", ""))
    print(f"\n{len(comparison.ranking)} of {len(comparison.cases)} plans fit; {comparison.seconds:.0f} s.")
    for case in comparison.failures:
        if case.failure is not None:
            print(f"  no plan: {case.label}; {_first_remedy(case.failure)}")
    print(f"\nreport  {page}")
