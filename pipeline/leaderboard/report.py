"""The report of a leaderboard: the table, and the AUCs with their spread as a drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pipeline.leaderboard.standing import Standing
from pipeline.leaderboard.table import standings_table
from pipeline.reports.document import Card, Figure, Prose, Report, Section
from pipeline.reports.figures import PALETTE, SOFT, figure_svg, new_figure, style

_READING = (
    "Each dot is the mean test AUC over the folds, each bar one standard deviation of the folds to either side, each small dot a "
    "fold. The folds are the same rows for all, so they move up and down together: rankers differ by less than their bars "
    "suggest. `parameters` counts every stored value of tables and dense part; samples per second are those of training here."
)


def leaderboard_report(title: str, source: str, standings: Sequence[Standing], provenance: Mapping[str, str]) -> Report:
    """The report as an object; `pipeline.reports.writing.write_report` puts it on disk."""
    ordered = sorted(standings, key=lambda standing: -standing.auc)
    best = ordered[0]
    num_folds = len(best.folds)
    return Report(
        title=title,
        subtitle=f"{len(standings)} rankers, {num_folds} folds of {source}",
        cards=[
            Card(label="Best mean test AUC", value=f"{best.auc:.4f}", note=best.name),
            Card(label="Lowest log loss", value=f"{min(each.logloss for each in ordered):.4f}"),
        ],
        sections=[
            Section(title="Standing", blocks=[standings_table(ordered), auc_figure(ordered), Prose(_READING)]),
        ],
        provenance=provenance,
        results={"standings": [asdict(standing) for standing in ordered]},
    )


def auc_figure(ordered: Sequence[Standing]) -> Figure:
    """Mean AUC of each ranker with one standard deviation and its folds, the best at the top."""
    figure, axes = new_figure(wide=True, height=60 + 26 * len(ordered))
    places = range(len(ordered) - 1, -1, -1)
    with style():
        for place, each in zip(places, ordered, strict=True):
            axes.plot(each.folds, [place] * len(each.folds), ".", color=SOFT, alpha=0.45, markersize=5)
            axes.errorbar(each.auc, place, xerr=each.auc_sd, fmt="o", color=PALETTE[0], capsize=3)
        axes.set_yticks(list(places), [each.name for each in ordered])
        axes.set_xlabel("test AUC")
        axes.grid(visible=False, axis="y")
    return Figure(
        name="leaderboard-auc",
        svg=figure_svg(figure, "leaderboard-auc"),
        alt="; ".join(f"{each.name} {each.auc:.4f} ± {each.auc_sd:.4f}" for each in ordered) + ".",
        caption="Test AUC over the folds, best first",
        wide=True,
        data={each.name: list(each.folds) for each in ordered},
    )
