"""Cross-validation: each fold is prepared, trained on and tested in turn, id maps fitted on its own training rows."""

from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from data.config import PrepareConfig
from data.preparing.prepare import prepare
from pipeline.config import CrossValidateConfig, TrainConfig
from pipeline.jobs.train import train
from pipeline.ranks import joined_ranks
from pipeline.run_directory import write_json
from pipeline.settings import to_plain

SHOWN = {"test/auc": "AUC", "test/logloss": "log loss", "test/ne": "NE", "test/calibration": "calibration"}


def run(config: CrossValidateConfig) -> int:
    """Train every fold on this rank, together with the others; 0 when all are done."""
    with joined_ranks(config.train.device, config.train.training.threads_per_rank) as ranks:
        results = []
        for fold in range(config.num_folds):
            prepared = _fold_preparation(config, fold)
            ranks.on_zero(lambda prepared=prepared: prepare(prepared).fingerprint)
            results.append(train(_fold_training(config, prepared, fold), ranks).flat())
        if ranks.is_zero:
            print(_table(results))
            write_json(Path(config.out) / "cross_validation.json", _summary(config, results))
    return 0


def _fold_preparation(config: CrossValidateConfig, fold: int) -> PrepareConfig:
    split = replace(config.prepare.split, by="fold", num_folds=config.num_folds, fold=fold)
    return replace(config.prepare, split=split, output=str(Path(config.out) / f"fold-{fold}"))


def _fold_training(config: CrossValidateConfig, prepared: PrepareConfig, fold: int) -> TrainConfig:
    data = replace(config.train.data, source="prepared", path=prepared.output)
    runs_dir = str(Path(config.out) / "runs")
    return replace(config.train, data=data, name=f"{config.train.name}-fold-{fold}", runs_dir=runs_dir)


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
