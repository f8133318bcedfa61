"""The drawings of an evaluation: ROC, precision and recall, calibration, scores by class, AUC by slice, differences of runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.metrics.comparison import Comparison
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.figures import LOG_ODDS_EDGES
from pipeline.metrics.slices import Slice
from pipeline.reports.document import Figure
from pipeline.reports.figures import INK, PALETTE, SOFT, figure_svg, legend_above, new_figure, style

_DASHED = (0, (4, 3))
_SHOWN_ODDS = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 0.1: "10 %", 0.5: "50 %", 0.9: "90 %", 0.99: "99 %"}
LONGEST_NAME = 28


def roc_figure(evaluation: Evaluation, key: str) -> Figure:
    """True positive rate over false positive rate; the area under it is the AUC. `key` makes the name unique on the page."""
    points = evaluation.roc()
    figure, axes = new_figure()
    with style():
        axes.plot(points[:, 0], points[:, 1], label=f"AUC {evaluation.auc:.4f}")
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1.1, linestyle=_DASHED, label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="false positive rate", ylabel="true positive rate")
    legend_above(axes)
    at = int(np.searchsorted(points[:, 0], 0.1))
    return Figure(
        name=f"roc-{key}",
        svg=figure_svg(figure, f"roc-{key}"),
        alt=f"ROC curve with an area of {evaluation.auc:.5f}; at a false positive rate of {points[at, 0]:.2f} the true"
        f" positive rate is {points[at, 1]:.2f}.",
        caption="ROC: of the clicks, the share found, over the share of the others taken for clicks",
        data={"false_positive_rate": points[:, 0], "true_positive_rate": points[:, 1]},
    )


def precision_recall_figure(evaluation: Evaluation, key: str) -> Figure:
    """Precision over recall, with the base rate, which is the precision of chance."""
    points = evaluation.precision_recall()
    figure, axes = new_figure()
    with style():
        axes.plot(points[:, 0], points[:, 1], label=f"average precision {evaluation.auprc:.4f}")
    rate = evaluation.base_rate
    with style():
        axes.axhline(rate, color=INK, linewidth=1.1, linestyle=_DASHED, label=f"base rate {rate:.3g}")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    legend_above(axes)
    at = min(int(np.searchsorted(points[:, 0], 0.5)), len(points) - 1)
    return Figure(
        name=f"precision-recall-{key}",
        svg=figure_svg(figure, f"precision-recall-{key}"),
        alt=f"Precision over recall, average precision {evaluation.auprc:.4f} against a base rate of {rate:.4f}; half of the"
        f" clicks are found at a precision of {points[at, 1]:.2f}.",
        caption="Precision and recall: the share of clicks among the highest scores, over the share of clicks found",
        data={"recall": points[:, 0], "precision": points[:, 1]},
    )


def reliability_figure(evaluation: Evaluation, key: str) -> Figure:
    """Observed over predicted rate by tenth of the scores, with intervals; on the dashed line the two agree."""
    deciles = evaluation.deciles()
    predicted, observed = [item.predicted for item in deciles], [item.observed for item in deciles]
    bars = [
        [item.observed - item.observed_low for item in deciles],
        [item.observed_high - item.observed for item in deciles],
    ]
    top = 1.05 * max(*predicted, *(item.observed_high for item in deciles), 1e-9)
    figure, axes = new_figure()
    look = {"fmt": "o", "color": PALETTE[0], "markersize": 5.5, "ecolor": SOFT, "elinewidth": 1.2, "capsize": 3}
    with style():
        axes.plot([0, top], [0, top], color=INK, linewidth=1.1, linestyle=_DASHED, label="predicted = observed")
        axes.errorbar(predicted, observed, bars, label="a tenth of the rows", **look)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted rate", ylabel="observed rate")
    legend_above(axes)
    worst = max(deciles, key=lambda item: abs(item.predicted - item.observed))
    return Figure(
        name=f"reliability-{key}",
        svg=figure_svg(figure, f"reliability-{key}"),
        alt=f"Observed over predicted rate in {len(deciles)} groups; they differ most where {worst.predicted:.4f} was predicted"
        f" and {worst.observed:.4f} observed. Expected calibration error {evaluation.ece:.4f}.",
        caption="Reliability: observed over predicted rate by tenth of the scores, with 95 % intervals",
        data={"predicted": predicted, "observed": observed, "rows": [item.num_rows for item in deciles]},
    )


def histogram_figure(evaluation: Evaluation, key: str) -> Figure:
    """How the scores of each class are spread, over log-odds: click probabilities crowd where a plain axis shows nothing."""
    negatives, positives = evaluation.figures.histogram
    centres = (LOG_ODDS_EDGES[1:] + LOG_ODDS_EDGES[:-1]) / 2
    figure, axes = new_figure()
    for name, values, colour in (("label 0", negatives, PALETTE[0]), ("label 1", positives, PALETTE[1])):
        shares = values / max(values.sum(), 1e-300)
        with style():
            axes.fill_between(centres, shares, step="mid", color=colour, alpha=0.25, linewidth=0)
            axes.plot(centres, shares, drawstyle="steps-mid", color=colour, label=name)
    held = np.flatnonzero(negatives + positives)
    axes.set_xlim(LOG_ODDS_EDGES[max(held[0] - 1, 0)], LOG_ODDS_EDGES[min(held[-1] + 2, len(centres))])
    _probability_ticks(axes)
    axes.set(ylim=(0, None), xlabel="score", ylabel="share of the class")
    legend_above(axes)
    means = [
        float(np.average(centres, weights=values)) if values.sum() else np.nan for values in (negatives, positives)
    ]
    return Figure(
        name=f"scores-{key}",
        svg=figure_svg(figure, f"scores-{key}"),
        alt=f"Scores by class over log-odds; the mean log-odds are {means[0]:.2f} for label 0 and {means[1]:.2f} for label 1.",
        caption="Scores by class; equal steps are equal factors of the odds",
        data={"log_odds": centres, "label_0": negatives, "label_1": positives},
    )


def slices_figure(column: str, slices: Sequence[Slice], overall: float, key: str) -> Figure:
    """AUC of each slice with its 95 % interval, beside the AUC of all rows."""
    summaries = [item.evaluation.summary() for item in slices]
    drawn = [
        (item.value, summary) for item, summary in zip(slices, summaries, strict=True) if np.isfinite(summary["auc"])
    ]
    names = [_short(value) for value, _ in drawn]
    aucs = [summary["auc"] for _, summary in drawn]
    figure, axes = new_figure(wide=True, height=90 + 19 * max(len(drawn), 1))
    _points(axes, names, aucs, [(summary["auc_low"], summary["auc_high"]) for _, summary in drawn])
    with style():
        axes.axvline(overall, color=INK, linewidth=1.1, linestyle=_DASHED, label=f"all rows {overall:.4f}")
    axes.set_xlabel("AUC")
    legend_above(axes)
    extremes = ""
    if drawn:
        low, high = int(np.argmin(aucs)), int(np.argmax(aucs))
        extremes = f"; lowest {aucs[low]:.4f} for {names[low]}, highest {aucs[high]:.4f} for {names[high]}"
    return Figure(
        name=f"slices-{key}",
        svg=figure_svg(figure, f"slices-{key}"),
        alt=f"AUC by {column} with 95 % intervals in {len(drawn)} slices{extremes}.",
        caption=f"AUC by {column}, with 95 % intervals; slices of one class have none",
        wide=True,
        data={"value": [value for value, _ in drawn], "auc": aucs},
    )


def differences_figure(comparisons: Sequence[Comparison]) -> Figure:
    """Each difference of AUC with its 95 % interval; what crosses zero is not told apart."""
    names = [f"{_short(item.second)} \N{MINUS SIGN} {_short(item.first)}" for item in comparisons]
    values = [item.auc.value for item in comparisons]
    figure, axes = new_figure(wide=True, height=90 + 24 * len(comparisons))
    _points(axes, names, values, [(item.auc.low, item.auc.high) for item in comparisons])
    with style():
        axes.axvline(0, color=INK, linewidth=1.1, linestyle=_DASHED)
    axes.set_xlabel("difference of AUC")
    spans = "; ".join(
        f"{name}: {item.auc.value:+.6f} [{item.auc.low:+.6f}, {item.auc.high:+.6f}]"
        for name, item in zip(names, comparisons, strict=True)
    )
    return Figure(
        name="differences",
        svg=figure_svg(figure, "differences"),
        alt=f"Differences of AUC with 95 % intervals: {spans}.",
        caption="Differences of AUC on the same rows, with 95 % intervals",
        wide=True,
        data={"names": names, "values": values, "se": [item.auc.se for item in comparisons]},
    )


def _points(axes: Axes, names: Sequence[str], values: Sequence[float], spans: Sequence[tuple[float, float]]) -> None:
    """A row per name from the top down: a point with its interval."""
    places = np.arange(len(names))[::-1]
    errors = [
        [max(value - low, 0) if np.isfinite(low) else 0 for value, (low, _) in zip(values, spans, strict=True)],
        [max(high - value, 0) if np.isfinite(high) else 0 for value, (_, high) in zip(values, spans, strict=True)],
    ]
    look = {"fmt": "o", "color": PALETTE[0], "markersize": 5.5, "ecolor": SOFT, "elinewidth": 1.4, "capsize": 3}
    with style():
        axes.errorbar(values, places, xerr=errors, **look)
    axes.set_yticks(places, names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.grid(visible=False, axis="y")


def _probability_ticks(axes: Axes) -> None:
    """Probabilities written at their log-odds, as many as lie in view."""
    low, high = axes.get_xlim()
    at = {float(np.log(p / (1 - p))): text for p, text in _SHOWN_ODDS.items()}
    shown = {place: text for place, text in at.items() if low <= place <= high}
    axes.set_xticks(list(shown), list(shown.values()))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
