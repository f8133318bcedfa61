"""Runs compared on the same rows: read, joined by row id, tested pair by pair, put into words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from pipeline.evaluate_config import ColumnsConfig
from pipeline.metrics.bad_rows import BadRows, check_rows
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.paired import Difference, PairedRows, holm
from pipeline.metrics.scores_file import ScoreBatch, ScoresFile
from pipeline.metrics.summary import evaluate_arrays

SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run's scores in the order of the row ids (of the file where it has none), and their metrics."""

    name: str
    scores: NDArray
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same rows. Differences are the second less the first; `p_corrected` is Holm's over all comparisons."""

    first: str
    second: str
    num_rows: int
    auc: Difference
    logloss: Difference
    p_corrected: float
    num_comparisons: int = 1

    @property
    def is_distinguishable(self) -> bool:
        return self.p_corrected < SIGNIFICANT

    @property
    def rows_needed(self) -> float:
        """Rows at which an AUC difference of this size would be found in four of five tests."""
        return self.auc.rows_needed(self.num_rows)

    def verdict(self) -> str:
        """What the test says, in one or two sentences."""
        better, worse = (self.second, self.first) if self.auc.value > 0 else (self.first, self.second)
        change = self.auc if self.auc.value > 0 else Difference(-self.auc.value, self.auc.se)
        numbers = (
            f"the difference {change.value:.6f} has the interval [{change.low:+.6f}, {change.high:+.6f}], {self._p()}"
        )
        rows = f"on these {self.num_rows:,} rows"
        if change.se == 0 and change.value == 0:
            return f"{self.first} and {self.second} rank these {self.num_rows:,} rows alike: no difference at all."
        if self.is_distinguishable:
            return f"{better} is better than {worse} {rows}: {numbers}."
        return f"{self.first} and {self.second} are not distinguishable {rows}: {numbers}. {self._needed()}"

    def _p(self) -> str:
        text = p_value_text(self.p_corrected)
        return text if self.num_comparisons == 1 else f"{text} corrected for {self.num_comparisons} comparisons"

    def _needed(self) -> str:
        if not math.isfinite(self.rows_needed):
            return "No number of rows would tell them apart."
        return f"If the difference is real, about {self.rows_needed:,.0f} rows would be needed to show it (power 80 %)."


@dataclass(frozen=True, kw_only=True)
class RunsCompared:
    """All runs and all comparisons asked for."""

    runs: list[Run]
    comparisons: list[Comparison]
    num_positives: int


def p_value_text(p_value: float) -> str:
    """`p = 0.013`; a value too small for a float is not called zero."""
    return f"p = {p_value:.2g}" if p_value > 0 else "p < 1e-300"


def compare_runs(
    paths: Sequence[str | Path],
    *,
    split: str = "test",
    columns: ColumnsConfig | None = None,
    all_pairs: bool = False,
) -> RunsCompared:
    """Paired DeLong and log loss tests of the scores at `paths` (see ScoresFile): the first with each other, or all pairs.

    Raises DataError, with counts and the first example, where the runs did not score the same rows with the same labels and
    weights, where a row comes twice, or where scores, labels or weights are none.
    """
    names = _names(paths)
    batches = [_ordered(_read(path, columns, split)) for path in paths]
    for name, batch in zip(names[1:], batches[1:], strict=True):
        _check_same_rows(names[0], batches[0], name, batch)
    labels = batches[0].labels.astype(bool)
    if labels.all() or not labels.any():
        raise DataError(f"all {len(labels):,} rows have the label {int(labels[0])}: there is no AUC to compare")
    rows = PairedRows(labels, batches[0].weights)
    runs = [
        Run(name=name, scores=batch.scores, evaluation=evaluate_arrays(batch.scores, labels, batch.weights))
        for name, batch in zip(names, batches, strict=True)
    ]
    pairs = list(combinations(range(len(runs)), 2)) if all_pairs else [(0, at) for at in range(1, len(runs))]
    return RunsCompared(runs=runs, comparisons=_comparisons(runs, rows, pairs), num_positives=int(labels.sum()))


def _comparisons(runs: list[Run], rows: PairedRows, pairs: list[tuple[int, int]]) -> list[Comparison]:
    placed = [rows.placements(run.scores) for run in runs]
    losses = [rows.losses(run.scores) for run in runs]
    auc = [rows.auc_difference(placed[a], placed[b]) for a, b in pairs]
    corrected = holm([difference.p_value for difference in auc])
    return [
        Comparison(
            first=runs[a].name,
            second=runs[b].name,
            num_rows=len(rows.labels),
            auc=difference,
            logloss=rows.loss_difference(losses[a], losses[b]),
            p_corrected=p,
            num_comparisons=len(pairs),
        )
        for (a, b), difference, p in zip(pairs, auc, corrected, strict=True)
    ]


def _names(paths: Sequence[str | Path]) -> list[str]:
    """The last part of each path; as much of the path as it takes where two are the same."""
    parts = [Path(path).absolute().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({number})" for number, path in enumerate(paths, start=1)]


def _read(path: str | Path, columns: ColumnsConfig | None, split: str) -> ScoreBatch:
    file = ScoresFile(path, columns, split=split)
    batch = file.read()
    bad = BadRows()
    where = np.arange(len(batch.scores)) if batch.row_ids is None else batch.row_ids
    check_rows(bad, batch.scores, batch.labels, batch.weights, where)
    bad.refuse(len(batch.scores), str(path))
    return batch


def _ordered(batch: ScoreBatch) -> ScoreBatch:
    """The rows in the order of their ids."""
    if batch.row_ids is None or (batch.row_ids[1:] > batch.row_ids[:-1]).all():
        return batch
    order = np.argsort(batch.row_ids, kind="stable")
    return ScoreBatch(
        scores=batch.scores[order],
        labels=batch.labels[order],
        row_ids=batch.row_ids[order],
        weights=None if batch.weights is None else batch.weights[order],
        others=batch.others,
    )


def _check_same_rows(first: str, a: ScoreBatch, second: str, b: ScoreBatch) -> None:
    if (a.row_ids is None) != (b.row_ids is None):
        lacking = first if a.row_ids is None else second
        raise DataError(f"{lacking} has no row ids and the other has: write both with row ids, or both without")
    if a.row_ids is None:
        _check_lengths(first, len(a.scores), second, len(b.scores))
        places = np.arange(len(a.scores))
    else:
        assert b.row_ids is not None
        for name, ids in ((first, a.row_ids), (second, b.row_ids)):
            _check_no_copies(name, ids)
        _check_same_ids(first, a.row_ids, second, b.row_ids)
        places = a.row_ids
    _check_equal("label", first, a.labels, second, b.labels, places)
    if a.weights is not None or b.weights is not None:
        ones = np.ones(len(a.scores))
        weights = (ones if batch.weights is None else batch.weights for batch in (a, b))
        _check_equal("weight", first, next(weights), second, next(weights), places)


def _check_lengths(first: str, num_first: int, second: str, num_second: int) -> None:
    if num_first != num_second:
        raise DataError(
            f"{first} has {num_first:,} rows and {second} {num_second:,}, and neither has row ids to join them by:"
            " score the same rows, or write a row_id column"
        )


def _check_no_copies(name: str, ids: NDArray) -> None:
    copies = ids[1:][ids[1:] == ids[:-1]]
    if len(copies):
        raise DataError(
            f"{name} has {len(copies):,} rows too many: row id {copies[0]} comes more than once; remove the copies"
        )


def _check_same_ids(first: str, a: NDArray, second: str, b: NDArray) -> None:
    if np.array_equal(a, b):
        return
    only_a, only_b = np.setdiff1d(a, b, assume_unique=True), np.setdiff1d(b, a, assume_unique=True)
    example = f"row {only_a[0]} is in {first} only" if len(only_a) else f"row {only_b[0]} is in {second} only"
    raise DataError(
        f"{first} and {second} did not score the same rows: {len(only_a):,} rows are in {first} only, {len(only_b):,} in"
        f" {second} only, {len(a) - len(only_a):,} in both; {example}. Evaluate both on the same split of the same data"
    )


def _check_equal(what: str, first: str, a: NDArray, second: str, b: NDArray, places: NDArray) -> None:
    differs = a != b
    if differs.any():
        at = int(np.argmax(differs))
        raise DataError(
            f"{first} and {second} disagree on the {what} of {np.count_nonzero(differs):,} of {len(a):,} rows; the first is"
            f" row {places[at]}: {a[at]:g} and {b[at]:g}. They were scored against different data"
        )
