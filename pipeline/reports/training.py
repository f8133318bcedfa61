"""The report of a training run: what it came to, how it got there, where the tables lay, where it all came from."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.card import ModelCard
from pipeline.metrics.evaluation import Decile
from pipeline.reports.document import Block, Card, Column, Listing, Note, Prose, Report, Section, Table
from pipeline.reports.model_card import card_blocks
from pipeline.reports.placement import Placement, plan_blocks
from pipeline.reports.training_figures import (
    LogRows,
    auc_figure,
    calibration_figure,
    learning_rate_figure,
    loss_figure,
    median,
    speed_figure,
    time_figure,
    time_parts,
)

_SPLIT_COLUMNS = {
    "auc": "AUC",
    "auc_low": "95 % from",
    "auc_high": "to",
    "logloss": "log loss",
    "ne": "NE",
    "calibration": "calibration",
}


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """All that a training run leaves to tell."""

    name: str
    """Name of the run."""
    metrics: Mapping[str, float]
    """The flat keys of metrics.json: `test/auc`, `val/logloss`, `data/best_auc`, `perf/samples_per_s` ..."""
    log: LogRows
    """The rows of log.jsonl: training rows with `train/loss`, evaluation rows with `eval/auc`, all with `step`."""
    plan: Sequence[Placement] = ()
    """Each table's place; see `pipeline.reports.placement.placements`."""
    deciles: Sequence[Decile] = ()
    """Predicted and observed click rate on the test split by tenth of the scores, lowest first."""
    data_is_random: bool = False
    """Labels are independent of the features, so 0.5 is the right AUC."""
    ended: str = ""
    """Why training ended."""
    model: ModelCard | None = None
    """The ranker in figures."""
    settings: str = ""
    """The resolved settings as YAML."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of configuration, plan and data, versions, machine, seed, date."""


def training_report(run: TrainingReport) -> Report:
    """The report as an object; `pipeline.reports.writing.write_report` puts it on disk."""
    sections = [
        Section(title="Result", blocks=_result_blocks(run)),
        Section(title="Learning and calibration", blocks=_learning_blocks(run)),
        Section(title="Speed", blocks=_speed_blocks(run)),
        Section(title="Model", blocks=card_blocks(run.model) if run.model else []),
        Section(title="Sharding plan", blocks=plan_blocks(run.plan) if run.plan else []),
        Section(title="Settings", blocks=[Listing(run.settings)] if run.settings else []),
    ]
    return Report(
        title=f"Training run {run.name}",
        subtitle=_subtitle(run),
        cards=_cards(run.metrics),
        sections=[section for section in sections if section.blocks],
        provenance=run.provenance,
        results=run.metrics,
    )


def share_of_the_way(metrics: Mapping[str, float]) -> float | None:
    """How much of the way from 0.5 to the best possible AUC the test AUC covers; None where that cannot be said."""
    best, reached = metrics.get("data/best_auc"), metrics.get("test/auc")
    if best is None or reached is None or not math.isfinite(reached) or not best > 0.5:
        return None
    return (reached - 0.5) / (best - 0.5)


def _subtitle(run: TrainingReport) -> str:
    steps = max((int(row["step"]) for row in run.log), default=0)
    parts = [f"{steps:,} steps" if steps else "", f"{len(run.plan)} tables" if run.plan else ""]
    if run.plan:
        num_ranks = len(run.plan[0].bytes_per_rank)
        parts.append(f"{num_ranks} rank{'s' if num_ranks > 1 else ''}")
    return ", ".join(part for part in [*parts, run.ended] if part)


def _cards(metrics: Mapping[str, float]) -> list[Card]:
    best_auc, best_loss = metrics.get("data/best_auc"), metrics.get("data/best_logloss")
    cards = [
        _card(metrics, "test/auc", "Test AUC", ".4f", _interval(metrics, "test/auc")),
        _share_card(share_of_the_way(metrics), best_auc),
        _card(
            metrics,
            "test/logloss",
            "Test log loss",
            ".4f",
            "" if best_loss is None else f"best possible {best_loss:.4f}",
        ),
        _card(metrics, "test/ne", "Normalized entropy", ".4f", "1 is knowing the base rate alone"),
        _card(metrics, "test/calibration", "Calibration", ".3f", "predicted over observed clicks"),
        _card(metrics, "perf/samples_per_s", "Samples per second", ",.0f", "measured, all ranks"),
    ]
    return [card for card in cards if card is not None]


def _card(metrics: Mapping[str, float], key: str, label: str, spec: str, note: str) -> Card | None:
    value = metrics.get(key)
    if value is None or not math.isfinite(value):
        return None
    return Card(label=label, value=format(value, spec), note=note)


def _share_card(share: float | None, best_auc: float | None) -> Card | None:
    if share is None or best_auc is None:
        return None
    return Card(label="Of the way to the best AUC", value=f"{share:.1%}", note=f"from 0.5 to {best_auc:.4f}")


def _interval(metrics: Mapping[str, float], key: str) -> str:
    low, high = metrics.get(f"{key}_low", math.nan), metrics.get(f"{key}_high", math.nan)
    return f"95 % interval {low:.4f}\N{EN DASH}{high:.4f}" if math.isfinite(low) and math.isfinite(high) else ""


def _result_blocks(run: TrainingReport) -> list[Block]:
    blocks: list[Block] = [_random_note(run.metrics)] if run.data_is_random else []
    return [*blocks, *_split_table(run.metrics), *_targets_table(run.metrics)]


def _random_note(metrics: Mapping[str, float]) -> Note:
    text = "The data are random: no label depends on any feature, so **an AUC of 0.5 is the right answer**"
    low, high = metrics.get("test/auc_low", math.nan), metrics.get("test/auc_high", math.nan)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Note(f"{text}, and speed is all that this run can show.")
    if low <= 0.5 <= high:
        return Note(f"{text}. The interval of the test AUC holds it.", "good")
    return Note(
        f"{text}. It lies outside the 95 % interval of the test AUC, which happens to one run in twenty; if it happens with "
        "other seeds too, labels leak into the features.",
        "warning",
    )


def _split_table(metrics: Mapping[str, float]) -> list[Table]:
    splits = [split for split in ("val", "test") if f"{split}/auc" in metrics]
    keys = [key for key in _SPLIT_COLUMNS if any(f"{split}/{key}" in metrics for split in splits)]
    rows: list[list[str | float | None]] = [
        [split, *(metrics.get(f"{split}/{key}") for key in [*keys, "num_samples"])] for split in splits
    ]
    caption = "Measured on every row of a split, once"
    if "data/best_auc" in metrics:
        best = {"auc": metrics["data/best_auc"], "logloss": metrics.get("data/best_logloss")}
        rows.append(["best possible", *(best.get(key) for key in keys), metrics.get("test/num_samples")])
        caption += "; the best possible is what the true click probabilities reach on the test rows"
    columns = [Column(title="split"), *(Column(title=_SPLIT_COLUMNS[key], spec=".5f") for key in keys)]
    return [Table(columns=[*columns, Column(title="rows", spec=",.0f")], rows=rows, caption=caption)] if splits else []


def _targets_table(metrics: Mapping[str, float]) -> list[Table]:
    """A row per split and target, where there are several."""
    found = [match for key in metrics if (match := re.fullmatch(r"(val|test)/([^/]+)/auc", key))]
    rows: list[list[str | float | None]] = [
        [match[1], match[2], *(metrics.get(f"{match[1]}/{match[2]}/{key}") for key in [*_SPLIT_COLUMNS, "num_samples"])]
        for match in found
    ]
    columns = [Column(title="split"), Column(title="target")]
    columns += [Column(title=title, spec=".5f") for title in _SPLIT_COLUMNS.values()]
    caption = "By target, on the rows whose label is known; the first target is the one above"
    return [Table(columns=[*columns, Column(title="rows", spec=",.0f")], rows=rows, caption=caption)] if rows else []


def _learning_blocks(run: TrainingReport) -> list[Block]:
    training, evaluations = _training_rows(run.log), _evaluation_rows(run)
    blocks: list[Block] = [*_overfitting_note(evaluations)]
    if len(training) > 1:
        blocks.append(loss_figure(training, evaluations, run.metrics))
    if len(evaluations) > 1:
        blocks.append(auc_figure(evaluations, run.metrics))
    if len(training) > 1:
        blocks.append(learning_rate_figure(training))
    if run.deciles:
        blocks.append(calibration_figure(run.deciles))
    return [*blocks, *_missing_curves(training, evaluations)]


def _missing_curves(training: LogRows, evaluations: LogRows) -> list[Prose]:
    """What to set for the curves that are not there."""
    if len(training) == 1:
        return [Prose("The log has one line; a smaller `training.log_every_steps` draws the curve of the loss.")]
    if training and len(evaluations) < 2:
        return [Prose("AUC was not measured on the way; `training.eval_every_steps` draws its curve here.")]
    return []


def _evaluation_rows(run: TrainingReport) -> list[Mapping[str, float]]:
    """The evaluations on the way, and the one at the end where it is on the val split and later than those."""
    rows = [row for row in run.log if "eval/auc" in row]
    last = max((row["step"] for row in run.log), default=0)
    if "val/auc" in run.metrics and last > (rows[-1]["step"] if rows else 0):
        values = {f"eval/{key[4:]}": value for key, value in run.metrics.items() if key.startswith("val/")}
        rows.append({"step": last, **values})
    return rows


def _overfitting_note(evaluations: LogRows) -> list[Note]:
    """A warning where the AUC fell from its highest by more than chance explains: three standard errors of one evaluation."""
    if len(evaluations) < 2:
        return []
    best, last = max(evaluations, key=lambda row: row["eval/auc"]), evaluations[-1]
    margin = 3 * last.get("eval/auc_se", 0.001)
    if not best["eval/auc"] - last["eval/auc"] > margin:
        return []
    text = (
        f"The model overfits: the AUC on val was highest at step {best['step']:,.0f} ({best['eval/auc']:.4f}) and then fell to "
        f"{last['eval/auc']:.4f}. Fewer `training.num_epochs`, a `training.stop_at_auc` or a lower `optimizer.sparse.lr` helps."
    )
    return [Note(text, "warning")]


def _training_rows(log: LogRows) -> list[Mapping[str, float]]:
    return [row for row in log if "train/loss" in row]


def _speed_blocks(run: TrainingReport) -> list[Block]:
    training = _training_rows(run.log)
    if not training:
        return []
    blocks: list[Block] = []
    if time_parts(training):
        blocks.append(time_figure(training))
    if len(training) > 1:
        blocks.append(speed_figure(training))
    if time_parts(training):
        blocks.append(_time_table(training))
    peak = max((row["memory/rss_gib"] for row in training if "memory/rss_gib" in row), default=None)
    return (
        blocks
        if peak is None
        else [*blocks, Prose(f"Rank 0 held at most {peak:.2f} GiB of memory at a line of the log.")]
    )


def _time_table(training: LogRows) -> Table:
    parts = {name: median(values) for name, values in time_parts(training).items()}
    total = sum(parts.values())
    rows = [[name, value, value / total if total else None] for name, value in parts.items()]
    columns = [Column(title="part of a step"), Column(title="ms", spec=".2f"), Column(title="share", spec=".1%")]
    return Table(
        columns=columns,
        rows=[*rows, ["sum", total, None]],
        caption="Median over the lines of the log, measured on rank 0",
    )
