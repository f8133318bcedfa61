"""What a run comes to: metrics of val and test under flat keys, beside the best that is possible on planted data."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from data.reading.reader import read_columns
from pipeline.evaluating.evaluation import evaluate
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.summary import summarise
from pipeline.ranks import Ranks
from pipeline.sources import Source


@dataclass(frozen=True, kw_only=True)
class Results:
    """The evaluations of a model by split, and what the planted truth would have reached."""

    evaluations: dict[str, Evaluation]
    best: dict[str, float]
    """`data/best_auc` and `data/best_logloss` on the test rows; empty where the truth is not known."""

    def flat(self) -> dict[str, float]:
        """`test/auc`, `test/logloss` ..., `val/...`, `data/best_auc`: the keys of metrics.json."""
        by_split = {
            f"{split}/{key}": value
            for split, evaluation in self.evaluations.items()
            for key, value in evaluation.metrics().items()
        }
        return {**by_split, **self.best}

    def table(self) -> str:
        """The metrics as aligned text, a line per split."""
        header = (
            f"{'split':<6} {'AUC':>8}  {'95 % interval':<17} {'log loss':>9} {'NE':>8} {'calibration':>12} {'rows':>13}"
        )
        lines = [header, *(_line(split, evaluation) for split, evaluation in self.evaluations.items())]
        if self.best:
            best, logloss = self.best["data/best_auc"], self.best["data/best_logloss"]
            lines.append(f"{'best':<6} {best:>8.5f}  {'planted truth':<17} {logloss:>9.5f}")
        return "\n".join(lines)


def judge(
    model: nn.Module, source: Source, splits: tuple[str, ...], batch_size: int, ranks: Ranks, scores_dir: Path | None
) -> Results:
    """The model's results on the splits that have rows, equal on every rank; a collective.

    With `scores_dir`, the scores of each split are kept in `scores_dir/<split>/`.
    """
    evaluations = {
        split: evaluate(model, source.eval_batches(split, batch_size, ranks), ranks, scores_dir and scores_dir / split)
        for split in splits
        if source.num_rows(split)
    }
    best = ranks.on_zero(lambda: _best_possible(source)) if "test" in evaluations else {}
    return Results(evaluations=evaluations, best=best)


def _line(split: str, evaluation: Evaluation) -> str:
    value = evaluation.summary()
    interval = f"{value['auc_low']:.5f}-{value['auc_high']:.5f}"
    return (
        f"{split:<6} {value['auc']:>8.5f}  {interval:<17} {value['logloss']:>9.5f} {value['ne']:>8.5f}"
        f" {value['calibration']:>12.4f} {value['num_samples']:>13,.0f}"
    )


def _best_possible(source: Source) -> dict[str, float]:
    """Metrics of the planted click probabilities themselves on the test rows: no model can be expected to do better."""
    if source.manifest is None or not source.manifest.has_true_probability:
        return {}
    truth = read_columns(source.config.path, "test", ["label", "true_probability"])
    best = summarise(truth.column("true_probability").to_numpy(), truth.column("label").to_numpy())
    return {"data/best_auc": best["auc"], "data/best_logloss": best["logloss"]}
