"""The report of an evaluation, and that of a comparison of runs."""

import re
from collections.abc import Mapping, Sequence

from pipeline.evaluating.judging import Judged
from pipeline.metrics.comparison import RunsCompared
from pipeline.metrics.slices import GroupedAuc, Slice
from pipeline.reports.document import Block, Card, Note, Prose, Report, Section, Table, table
from pipeline.reports.evaluation_figures import (
    differences_figure,
    histogram_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    slices_figure,
)

_METRICS = {
    "auc": "AUC",
    "auc_low": "95 % from",
    "auc_high": "to",
    "logloss": "log loss",
    "ne": "NE",
    "calibration": "calibration",
    "ece": "ECE",
    "auprc": "AUPRC",
}
_FIVE_DIGITS = dict.fromkeys(_METRICS.values(), ".5f")


def evaluation_report(
    judged: Sequence[Judged], provenance: Mapping[str, str], *, best: Mapping[str, float] | None = None
) -> Report:
    """The report of a file of scores, or of the splits of a checkpoint; the last is the one on the cards.

    The keys of its results begin with the split (`test/auc`) unless the scores came from a file. `best` adds the figures of
    the planted truth.
    """
    by_key = {key: value for item in judged for key, value in item.flat(f"{item.split}/" if item.split else "").items()}
    return Report(
        title="Evaluation",
        subtitle=", ".join(f"{item.name}: {item.evaluation.num_rows:,} rows" for item in judged),
        cards=_cards(judged[-1]),
        sections=[Section(title="Result", blocks=_result(judged)), *(_section(item, judged) for item in judged)],
        provenance=provenance,
        results={**by_key, **(best or {})},
    )


def comparison_report(compared: RunsCompared, provenance: Mapping[str, str]) -> Report:
    """The report of runs compared on the same rows: verdicts, differences with intervals, each run's metrics."""
    comparisons = compared.comparisons
    notes: list[Block] = [Note(item.verdict(), "good" if item.is_distinguishable else "info") for item in comparisons]
    rows = [[run.name, *_row(run.evaluation.metrics())] for run in compared.runs]
    num_rows = comparisons[0].num_rows
    return Report(
        title="Runs compared",
        subtitle=f"{len(compared.runs)} runs on the same {num_rows:,} rows, {compared.num_positives:,} of them positive",
        sections=[
            Section(title="Verdict", blocks=[*notes, differences_figure(comparisons), differences_table(compared)]),
            Section(title="Each run", blocks=[table(["run", *_METRICS.values()], rows, specs=_FIVE_DIGITS)]),
            Section(title="How to read this", blocks=[Prose(_COMPARISON_WORDS)]),
        ],
        provenance=provenance,
        results=comparison_results(compared),
    )


def comparison_results(compared: RunsCompared) -> dict[str, float]:
    """Flat keys: `<run>/auc` ..., and `<second> - <first>/auc`, `.../auc_low`, `.../p_corrected` and so on."""
    results = {f"{run.name}/{key}": value for run in compared.runs for key, value in run.evaluation.metrics().items()}
    for item in compared.comparisons:
        values = {
            "auc": item.auc.value,
            "auc_se": item.auc.se,
            "auc_low": item.auc.low,
            "auc_high": item.auc.high,
            "p_value": item.auc.p_value,
            "p_corrected": item.p_corrected,
            "rows_needed": item.rows_needed,
            "logloss": item.logloss.value,
            "logloss_low": item.logloss.low,
            "logloss_high": item.logloss.high,
            "logloss_p_value": item.logloss.p_value,
        }
        results |= {f"{item.second} - {item.first}/{key}": value for key, value in values.items()}
    return results


def differences_table(compared: RunsCompared) -> Table:
    """The comparisons as a table: difference of AUC with interval, p-values, rows needed, difference of log loss."""
    rows = [
        [
            item.first,
            item.second,
            item.auc.value,
            item.auc.low,
            item.auc.high,
            item.auc.p_value,
            item.p_corrected,
            item.rows_needed,
            item.logloss.value,
            item.logloss.p_value,
        ]
        for item in compared.comparisons
    ]
    titles = ["run", "against", "difference of AUC", "95 % from", "to", "p", "p corrected", "rows needed"]
    specs = {**dict.fromkeys(titles[2:5], "+.6f"), "rows needed": ",.0f", "difference of log loss": "+.6f"}
    return table(
        [*titles, "difference of log loss", "p of log loss"],
        rows,
        specs=specs,
        caption="The second run less the first, on the same rows",
    )


def _row(metrics: Mapping[str, float]) -> list[float]:
    return [metrics[key] for key in _METRICS]


def _cards(item: Judged) -> list[Card]:
    m = item.evaluation.metrics()
    interval = f"95 % interval {m['auc_low']:.4f}\N{EN DASH}{m['auc_high']:.4f}"
    return [
        Card(label=f"AUC, {item.name}", value=f"{m['auc']:.5f}", note=interval),
        Card(label="Log loss", value=f"{m['logloss']:.5f}", note=f"± {1.96 * m['logloss_se']:.5f}"),
        Card(label="Normalized entropy", value=f"{m['ne']:.4f}", note="1 is knowing the base rate alone"),
        Card(label="Calibration", value=f"{m['calibration']:.3f}", note="predicted over observed"),
        Card(label="Rows", value=f"{item.evaluation.num_rows:,}", note=f"{m['base_rate']:.2%} positive"),
    ]


def _result(judged: Sequence[Judged]) -> list[Block]:
    rows = [[item.name, *_row(item.evaluation.metrics()), item.evaluation.num_rows] for item in judged]
    specs = {**_FIVE_DIGITS, "rows": ",d"}
    caption = "Measured on every row, once; the AUC is exact, its interval DeLong's"
    notes: list[Block] = [
        Note(f"**{finding.cause}** ({item.name}): {finding.evidence}. {finding.advice}.", "warning")
        for item in judged
        for finding in item.findings
    ]
    return [*notes, table(["scores", *_METRICS.values(), "rows"], rows, specs=specs, caption=caption)]


def _section(item: Judged, judged: Sequence[Judged]) -> Section:
    key = _key(item.name)
    blocks: list[Block] = []
    if 0 < item.evaluation.figures.num_positives < item.evaluation.num_rows:
        blocks += [roc_figure(item.evaluation, key), precision_recall_figure(item.evaluation, key)]
    else:
        blocks.append(Note("All rows have one label: AUC, ROC and precision are not defined.", "warning"))
    blocks += [reliability_figure(item.evaluation, key), histogram_figure(item.evaluation, key), _deciles(item)]
    for number, (column, slices) in enumerate(item.slices.items()):
        blocks.append(slices_figure(column, slices, item.evaluation.auc, f"{key}-{number}"))
        blocks.append(_slices_table(column, slices))
    if item.grouped is not None:
        blocks.append(_grouped(item.grouped))
    return Section(title=f"Curves, {item.name}" if len(judged) > 1 else "Curves", blocks=blocks)


def _deciles(item: Judged) -> Table:
    rows = [
        [number, tenth.num_rows, tenth.predicted, tenth.observed, tenth.observed_low, tenth.observed_high]
        for number, tenth in enumerate(item.evaluation.deciles(), start=1)
    ]
    titles = ["tenth", "rows", "predicted", "observed", "95 % from", "to"]
    return table(
        titles, rows, specs=dict.fromkeys(titles[2:], ".5f"), caption="Calibration by tenth of the scores, lowest first"
    )


def _slices_table(column: str, slices: Sequence[Slice]) -> Table:
    summaries = [(item.value, item.evaluation.summary()) for item in slices]
    rows = [
        [value, *(m[key] for key in ("auc", "auc_low", "auc_high", "logloss", "ne", "calibration", "num_samples"))]
        for value, m in summaries
    ]
    titles = [column, "AUC", "95 % from", "to", "log loss", "NE", "calibration", "rows"]
    return table(titles, rows, specs={**_FIVE_DIGITS, "rows": ",.0f"}, caption=f"Metrics by {column}")


def _grouped(grouped: GroupedAuc) -> Prose:
    return Prose(
        f"Within groups the mean AUC, weighted by rows, is **{grouped.auc:.5f}** over {grouped.num_groups:,} groups, which hold"
        f" {grouped.share_of_rows:.1%} of the rows; {grouped.num_one_class_groups:,} groups have one label only and no AUC."
    )


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "scores"


_COMPARISON_WORDS = """\
All runs were scored on the same rows, so what one row contributes to one run's AUC it contributes to the other's too, and \
the difference is known far better than either AUC: overlapping intervals of two runs say little, the interval of the \
difference says it all.

A run is called better when the corrected p-value lies below 0.05. The correction (Holm) keeps the chance of any false alarm \
among all comparisons below 5 %; the intervals are not corrected. **Rows needed** is how many rows a test would take to find a \
true difference of the size observed four times in five."""
