"""What a run comes to: metrics of val and test under flat keys, beside the best that is possible on planted data."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from data.reading.reader import columns_by_part
from pipeline.evaluating.evaluation import evaluate
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.exact import ExactScores
from pipeline.ranks import Ranks
from pipeline.sources import Source


@dataclass(frozen=True, kw_only=True)
class Results:
    """The evaluations of a model by split, and what the planted truth would have reached."""

    evaluations: dict[str, Evaluation]
    """Of the first target, where there are several."""
    best: dict[str, float]
    """`data/best_auc` and `data/best_logloss` on the test rows; empty where the truth is not known."""
    by_target: dict[str, dict[str, Evaluation]] = field(default_factory=dict)
    """By split and target, the first included; empty where there is but one."""

    def flat(self) -> dict[str, float]:
        """`test/auc`, `test/logloss` ..., `val/...`, `data/best_auc`: the keys of metrics.json.

        With several targets these are the first's, and `test/<target>/auc` ... are there for all.
        """
        by_split = {
            f"{split}/{key}": value
            for split, evaluation in self.evaluations.items()
            for key, value in evaluation.metrics().items()
        }
        return {**by_split, **self.flat_by_target(), **self.best}

    def flat_by_target(self) -> dict[str, float]:
        """`test/<target>/auc` ... of all targets; nothing where there is but one."""
        return {
            f"{split}/{target}/{key}": value
            for split, targets in self.by_target.items()
            for target, evaluation in targets.items()
            for key, value in evaluation.metrics().items()
        }

    def table(self) -> str:
        """The metrics as aligned text, a line per split."""
        width = max([6, *(len(f"{split} {target}") for split, each in self.by_target.items() for target in each)])
        interval = "95 % interval"
        header = (
            f"{'split':<{width}} {'AUC':>8}  {interval:<17} {'log loss':>9} {'NE':>8} {'calibration':>12} {'rows':>13}"
        )
        lines = [header, *(_line(name, evaluation, width) for name, evaluation in self._named())]
        if self.best:
            best, logloss = self.best["data/best_auc"], self.best["data/best_logloss"]
            lines.append(f"{'best':<{width}} {best:>8.5f}  {'planted truth':<17} {logloss:>9.5f}")
        return "\n".join(lines)

    def _named(self) -> Iterator[tuple[str, Evaluation]]:
        """Every evaluation once, with the name of its line."""
        for split, evaluation in self.evaluations.items():
            if split not in self.by_target:
                yield split, evaluation
            for target, of_target in self.by_target.get(split, {}).items():
                yield f"{split} {target}", of_target


def judge(
    model: nn.Module, source: Source, splits: tuple[str, ...], batch_size: int, ranks: Ranks, scores_dir: Path | None
) -> Results:
    """The model's results on the splits that have rows, equal on every rank; a collective.

    With `scores_dir`, the scores of each split are kept in `scores_dir/<split>/`.
    """
    targets = source.schema.targets
    found = {
        split: evaluate(
            model,
            source.eval_batches(split, batch_size, ranks),
            ranks,
            scores_dir and scores_dir / split,
            targets,
        )
        for split in splits
        if source.num_rows(split)
    }
    best = ranks.on_zero(lambda: _best_possible(source)) if "test" in found else {}
    return Results(
        evaluations={split: each.main for split, each in found.items()},
        best=best,
        by_target={split: dict(each.by_target) for split, each in found.items()} if targets else {},
    )


def _line(name: str, evaluation: Evaluation, width: int) -> str:
    value = evaluation.summary()
    interval = f"{value['auc_low']:.5f}-{value['auc_high']:.5f}"
    return (
        f"{name:<{width}} {value['auc']:>8.5f}  {interval:<17} {value['logloss']:>9.5f} {value['ne']:>8.5f}"
        f" {value['calibration']:>12.4f} {value['num_samples']:>13,.0f}"
    )


def _best_possible(source: Source) -> dict[str, float]:
    """Metrics of the planted click probabilities themselves on the test rows: no model can be expected to do better."""
    if source.manifest is None or not source.manifest.has_true_probability:
        return {}
    exact = ExactScores(score_dtype=np.float64, source="the planted click probabilities")
    for part in columns_by_part(source.config.path, "test", ["label", "true_probability"]):
        exact.add(part.column("true_probability").to_numpy(), part.column("label").to_numpy())
    best = exact.evaluate().summary()
    return {"data/best_auc": best["auc"], "data/best_logloss": best["logloss"]}
