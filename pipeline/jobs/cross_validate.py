"""Cross-validation: each fold is prepared, trained on and tested in turn, id maps fitted on its own training rows."""

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from data.config import PrepareConfig
from data.preparing.prepare import prepare
from pipeline.config import CrossValidateConfig
from pipeline.jobs.train import train
from pipeline.ranks import Ranks, joined_ranks
from pipeline.run_directory import write_json
from pipeline.settings import to_plain

SHOWN = {"test/auc": "AUC", "test/logloss": "log loss", "test/ne": "NE", "test/calibration": "calibration"}


def run(config: CrossValidateConfig) -> int:
    """Train every fold on this rank, together with the others; 0 when all are done."""
    out = Path(config.out)
    with joined_ranks(config.train.device, config.train.training.threads_per_rank) as ranks:
        ranks.on_zero(lambda: prepare_folds(config, out))
        results = cross_validate(config, ranks, out)
        if ranks.is_zero:
            print(_table(results))
            write_json(out / "cross_validation.json", _summary(config, results))
    return 0


def prepare_folds(config: CrossValidateConfig, folds: Path) -> list[str]:
    """Prepare every fold under `folds`, id maps fitted on its own training rows; the fingerprints of what lies there then."""
    return [prepare(_preparation(config, folds, fold)).fingerprint for fold in range(config.num_folds)]


def fold_directory(folds: Path, fold: int) -> Path:
    """Where a prepared fold lies."""
    return folds / f"fold-{fold}"


def cross_validate(
    config: CrossValidateConfig, ranks: Ranks, folds: Path, *, keep_finished: bool = False
) -> list[dict[str, float]]:
    """Train on each prepared fold in turn; each one's metrics, as in its run's metrics.json. A collective.

    `keep_finished`: folds whose runs lie finished under `config.out` are taken as they are; the caller knows that they are
    of the same settings and rows.
    """
    return [_train_fold(config, ranks, folds, fold, keep_finished) for fold in range(config.num_folds)]


def _preparation(config: CrossValidateConfig, folds: Path, fold: int) -> PrepareConfig:
    split = replace(config.prepare.split, by="fold", num_folds=config.num_folds, fold=fold)
    return replace(config.prepare, split=split, output=str(fold_directory(folds, fold)))


def _train_fold(
    config: CrossValidateConfig, ranks: Ranks, folds: Path, fold: int, keep_finished: bool
) -> dict[str, float]:
    runs_dir, name = Path(config.out) / "runs", f"{config.train.name}-fold-{fold}"
    found = ranks.on_zero(lambda: _newest_metrics(runs_dir, name) if keep_finished else None)
    if found is not None:
        return found
    data = replace(config.train.data, source="prepared", path=str(fold_directory(folds, fold)))
    train(replace(config.train, data=data, name=name, runs_dir=str(runs_dir)), ranks)
    found = ranks.on_zero(lambda: _newest_metrics(runs_dir, name))
    assert found is not None, "a run that ends leaves its metrics"
    return found


def _newest_metrics(runs_dir: Path, name: str) -> dict[str, float] | None:
    """The metrics of the newest run of this name (name, name-2 and so on); None where none has ended."""
    known = re.compile(re.escape(name) + r"(-\d+)?")
    found = [path for path in runs_dir.glob(f"{name}*/metrics.json") if known.fullmatch(path.parent.name)]
    return json.loads(max(found, key=lambda path: path.stat().st_mtime_ns).read_text()) if found else None


def _summary(config: CrossValidateConfig, results: list[dict[str, float]]) -> dict[str, object]:
    """Mean and sample standard deviation over the folds of each metric, and the folds' own metrics."""
    return {
        "mean": {key: mean(fold[key] for fold in results) for key in results[0]},
        "sd": {key: stdev(fold[key] for fold in results) for key in results[0]},
        "folds": results,
        "settings": to_plain(config),
    }


def _table(results: list[dict[str, float]]) -> str:
    lines = ["fold  " + "".join(f"{name:>13}" for name in SHOWN.values())]
    for number, fold in enumerate(results):
        lines.append(f"{number:<6}" + "".join(f"{fold[key]:>13.5f}" for key in SHOWN))
    for name, figure in (("mean", mean), ("sd", stdev)):
        lines.append(f"{name:<6}" + "".join(f"{figure(fold[key] for fold in results):>13.5f}" for key in SHOWN))
    return "\n".join(lines)
