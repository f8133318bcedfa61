"""The report of a comparison of plans, from its one result object."""

import textwrap
from collections.abc import Sequence
from typing import Any

from pipeline.reports.document import Block, Card, Listing, Note, Prose, Report, Section
from pipeline.reports.placement import Placement, plan_blocks
from pipeline.reports.plan_comparison_figures import step_figure, trade_off_figure
from pipeline.reports.plan_comparison_tables import (
    costliest_table,
    difference_table,
    fit_table,
    memory_table,
    time_table,
)
from pipeline.reports.plan_comparison_words import failures_in_words, memory_text, millions, verdict
from pipeline.reports.plan_truth import data_table, truth_section
from pipeline.reports.provenance import environment_facts
from sharding_plans.comparing.comparison import Case, Comparison
from sharding_plans.comparing.data_effect import DataEffect
from sharding_plans.comparing.truth import Truth
from sharding_plans.files.layout import PlanFile, TablePlan

GIB = 2**30


def comparison_report(comparison: Comparison, truths: Sequence[Truth] = (), effect: DataEffect | None = None) -> Report:
    """The whole report: verdict, leaderboard, what does not fit, the winner in detail, what-if table, provenance.

    Of measured plans, estimates stand beside measurements; of known data, what the plan owes to them.
    """
    return Report(
        title="Sharding plans compared",
        subtitle=_subtitle(comparison, num_measured=len(truths)),
        cards=_cards(comparison),
        sections=_sections(comparison, truths, effect),
        provenance=_provenance(comparison),
        results=results(comparison),
    )


def results(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs, under stable keys."""
    winner = comparison.winner
    return {
        "winner": winner.key if winner else None,
        "ranking": [
            _case_result(case) | {"best_trade_off": case.key in comparison.pareto} for case in comparison.ranking
        ],
        "failures": [_failure_result(case) for case in comparison.failures],
        "smallest_fits": [vars(fit) for fit in comparison.smallest_fits],
        "model": {"fingerprint": comparison.model.fingerprint, "num_tables": len(comparison.model.tables)},
        "seconds": comparison.seconds,
    }


def placements_of(plan: PlanFile) -> list[Placement]:
    """A plan file as the reports draw plans."""
    return [_placement(table, plan.num_ranks) for table in plan.tables]


def _subtitle(comparison: Comparison, *, num_measured: int) -> str:
    model = comparison.model
    size = sum(table.weight_bytes for table in model.tables)
    run = f"{num_measured} of the plans were measured" if num_measured else "nothing was run"
    strategies = len({case.strategy for case in comparison.cases})
    return (
        f"{len(model.tables)} tables, {memory_text(size / GIB)} of weights. "
        f"{strategies} strateg{'ies' if strategies > 1 else 'y'} on {', '.join(comparison.clusters)}; "
        f"global batch {', '.join(f'{size:,}' for size in comparison.batch_sizes)}. "
        f"Figures are estimates unless they say measured; {run}."
    )


def _cards(comparison: Comparison) -> list[Card]:
    winner = comparison.winner
    fitting = Card(label="Plans that fit", value=f"{len(comparison.ranking)} of {len(comparison.cases)}")
    if winner is None or winner.summary is None:
        return [fitting]
    summary = winner.summary
    return [
        Card(label="Fastest plan", value=winner.strategy, note=winner.cluster),
        Card(label="Step, slowest rank", value=f"{summary.step_ms:.2f} ms", note="embedding part, estimated"),
        Card(label="Samples/s", value=millions(summary.samples_per_s), note="embedding part, estimated"),
        Card(
            label="Fullest rank",
            value=memory_text(summary.memory_share * summary.capacity_gib),
            note=f"of {memory_text(summary.capacity_gib)} free for tables, estimated",
        ),
        fitting,
    ]


def _sections(comparison: Comparison, truths: Sequence[Truth], effect: DataEffect | None) -> list[Section]:
    sections = [Section(title="Verdict", blocks=[Prose(verdict(comparison))])]
    if comparison.ranking:
        figures: list[Block] = [step_figure(comparison), trade_off_figure(comparison)]
        sections.append(
            Section(title="Leaderboard", blocks=[time_table(comparison), *figures, memory_table(comparison)])
        )
    if truths:
        sections.append(truth_section(truths))
    if effect is not None:
        sections.append(Section(title="What the data change", blocks=[Prose(effect.in_words), data_table(effect)]))
    if comparison.failures:
        sections.append(Section(title="What does not fit", blocks=_failure_blocks(comparison)))
    sections += _winner_sections(comparison)
    if comparison.smallest_fits:
        sections.append(Section(title="How little hardware would do", blocks=[fit_table(comparison)]))
    return [*sections, Section(title="How to read this", blocks=[_guide(comparison)])]


def _winner_sections(comparison: Comparison) -> list[Section]:
    winner, second = comparison.winner, comparison.second
    if winner is None or winner.plan is None:
        return []
    blocks = [*plan_blocks(placements_of(winner.plan))[:-1], costliest_table(winner.plan)]
    sections = [Section(title=f"The first plan: {winner.label}", blocks=blocks)]
    if second is not None:
        sections.append(Section(title="First and second, table by table", blocks=[difference_table(winner, second)]))
    return sections


def _failure_blocks(comparison: Comparison) -> list[Block]:
    blocks: list[Block] = [
        Note(
            "Every remedy was verified: with that change made, the planner was run again and found a plan.",
            "info",
        ),
        Prose(failures_in_words(comparison.failures)),
    ]
    described = [case for case in comparison.failures if case.failure is not None and case.failure.budget]
    if described:
        blocks.append(_budget_listing(described[0]))
    return blocks


def _budget_listing(case: Case) -> Listing:
    assert case.failure is not None
    width = max(len(label) for label, _ in case.failure.budget)
    lines = [*textwrap.wrap(case.failure.headline, 96), ""]
    lines += [f"{label:<{width}}  {size / GIB:10,.2f} GiB" for label, size in case.failure.budget]
    return Listing(text="\n".join(lines), caption=f"The byte budget of the first of them, {case.label} (estimated)")


def _guide(comparison: Comparison) -> Prose:
    kept = f"{comparison.reserved_fraction:.0%}"
    fitted = any(case.plan is not None and case.plan.calibrated_ms is not None for case in comparison.ranking)
    own = (
        "**On calibrated hardware** times are those of the model fitted there, for all ranks together; the step contains the"
        " input dist, which nothing hides on CPU ranks.\n\n"
    )
    return Prose(
        (own if fitted else "")
        + "**Step** is what TorchRec's planner minimises: on the slowest rank, lookup, output dist, backward, gradient dist and"
        " prefetch one after the other. **Input dist** (ids to the ranks that look them up) is left out of it, as TorchRec does,"
        " because the train pipeline hides it behind the batch before; where it is longer than the rest of the step, it will"
        " show. **Samples/s** is the global batch over the step: the dense part of the model is not in it.\n\n"
        f"**Memory** is weights, optimizer state and the buffers of ids and pooled embeddings. {kept} of"
        " each rank's memory is kept free beforehand, and so is room for the dense part and the batches in flight. **Sent** is"
        " worked out from the layout: ids of 8 bytes, values of 4, ideal collectives."
    )


def _provenance(comparison: Comparison) -> dict[str, str]:
    facts = dict(comparison.origin)
    facts["Model fingerprint"] = comparison.model.fingerprint
    facts["Estimated by"] = "TorchRec's planner and estimators: " + ", ".join(
        f"{name} {v}" for name, v in comparison.versions
    )
    facts["Planned in"] = (
        f"{comparison.seconds:.0f} s on {comparison.num_processes} processes (the planner holds one core each)"
    )
    return facts | environment_facts()


def _case_result(case: Case) -> dict[str, Any]:
    assert case.summary is not None
    return {
        "strategy": case.strategy,
        "hardware": case.hardware,
        "num_ranks": case.num_ranks,
        "global_batch_size": case.global_batch_size,
        "fingerprint": case.plan.fingerprint if case.plan else None,
        "planning_seconds": case.seconds,
        **vars(case.summary),
    }


def _failure_result(case: Case) -> dict[str, Any]:
    failure = case.failure
    return {
        "strategy": case.strategy,
        "hardware": case.hardware,
        "num_ranks": case.num_ranks,
        "global_batch_size": case.global_batch_size,
        "reason": failure.headline if failure else "does not fit",
        "tier": failure.tier if failure else None,
        "binding_tables": list(failure.binding_tables) if failure else [],
        "budget_bytes": dict(failure.budget) if failure else {},
        "remedies": [{"text": text, "how": how} for text, how in failure.remedies] if failure else [],
    }


def _placement(table: TablePlan, num_ranks: int) -> Placement:
    held, spent = [0.0] * num_ranks, [0.0] * num_ranks
    for shard in table.shards:
        held[shard.rank] += shard.cost.hbm_bytes + shard.cost.ddr_bytes
        spent[shard.rank] += shard.cost.step_ms
    return Placement(
        table=table.name,
        sharding_type=table.sharding_type,
        compute_kernel=table.compute_kernel,
        num_embeddings=table.spec.num_embeddings,
        embedding_dim=table.spec.embedding_dim,
        bytes_per_rank=tuple(held),
        ms_per_rank=tuple(spent),
    )
