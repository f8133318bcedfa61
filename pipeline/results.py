"""What a run comes to: metrics of val and test under flat keys, beside the best that is possible on planted data."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from data.reader import read_columns
from pipeline.evaluation import Scores, score
from pipeline.metrics.summary import summarise
from pipeline.ranks import Ranks
from pipeline.sources import Source


def split_results(
    model: nn.Module, source: Source, split: str, batch_size: int, ranks: Ranks, scores_dir: Path | None = None
) -> dict[str, float]:
    """Metrics of one split under `<split>/auc` and so on, and of the planted truth under `data/best_auc` (test only).

    Equal on every rank; a collective. With `scores_dir`, rank 0 keeps the scores there as `<split>.parquet`.
    """
    scores = score(model, source.eval_batches(split, batch_size, ranks), ranks)
    return ranks.on_zero(lambda: _judge(scores, source, split, scores_dir) if scores is not None else {})


def share_of_best(results: dict[str, float]) -> float | None:
    """How much of the way from 0.5 to the best possible AUC the test AUC covers; None where the best is unknown."""
    if "data/best_auc" not in results:
        return None
    return (results["test/auc"] - 0.5) / (results["data/best_auc"] - 0.5)


def results_table(results: dict[str, float], splits: tuple[str, ...]) -> str:
    """The metrics as aligned text, a line per split."""
    lines = [
        f"{'split':<6} {'AUC':>9} {'95 % interval':>19} {'log loss':>10} {'NE':>9} {'calibration':>12} {'rows':>12}"
    ]
    for split in splits:
        if f"{split}/auc" not in results:
            continue
        value = {
            key: results[f"{split}/{key}"] for key in ("auc", "auc_low", "auc_high", "logloss", "ne", "calibration")
        }
        lines.append(
            f"{split:<6} {value['auc']:>9.5f} {value['auc_low']:>9.5f}-{value['auc_high']:.5f}   {value['logloss']:>9.5f}"
            f" {value['ne']:>9.5f} {value['calibration']:>12.4f} {results[f'{split}/num_samples']:>12,.0f}"
        )
    if "data/best_auc" in results:
        lines.append(
            f"{'best':<6} {results['data/best_auc']:>9.5f} {'(planted truth)':>19}   {results['data/best_logloss']:>9.5f}"
        )
    return "\n".join(lines)


def _judge(scores: Scores, source: Source, split: str, scores_dir: Path | None) -> dict[str, float]:
    results = {f"{split}/{key}": value for key, value in summarise(scores.scores, scores.labels).items()}
    if split == "test":
        results |= _best_possible(source)
    if scores_dir is not None:
        _save_scores(scores, scores_dir / f"{split}.parquet")
    return results


def _best_possible(source: Source) -> dict[str, float]:
    if source.is_random:
        return {}
    truth = read_columns(Path(source.config.path), "test", ["label", "true_probability"])
    if "true_probability" not in truth.column_names:
        return {}
    best = summarise(_numpy(truth, "true_probability"), _numpy(truth, "label"))
    return {"data/best_auc": best["auc"], "data/best_logloss": best["logloss"]}


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


def _save_scores(scores: Scores, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"row_id": scores.row_ids, "label": scores.labels, "score": scores.scores}
    pq.write_table(pa.table(columns), path)
