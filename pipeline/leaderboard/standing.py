"""What a ranker came to over its folds, kept in a file so that it need not be trained again."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from pipeline.run_directory import write_json

STANDING, BEGUN = "standing.json", "begun.json"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A ranker's figures: means over the folds, the sample standard deviation of the AUC, its size and speed.

    `marks` is the fingerprint of the settings and of every fold's rows: equal marks, equal figures.
    """

    name: str
    ranker: str
    marks: str
    auc: float
    auc_sd: float
    logloss: float
    num_parameters: int
    """Stored values of tables and dense part, for the id maps of the first fold."""
    num_dense_parameters: int
    samples_per_s: float
    """Median over the folds, of training."""
    share_of_best: float | None
    """Share of the way from 0.5 to the best possible AUC, mean over the folds; None where the best is not known."""
    folds: tuple[float, ...]
    """Test AUC of each fold."""


def standing_of(
    name: str, ranker: str, marks: str, folds: Sequence[dict[str, float]], parameters: tuple[int, int]
) -> Standing:
    """The standing of a ranker whose folds came to these metrics (the keys of metrics.json)."""
    aucs = [fold["test/auc"] for fold in folds]
    bests = [fold.get("data/best_auc", 0.0) for fold in folds]
    shares = [(auc - 0.5) / (best - 0.5) for auc, best in zip(aucs, bests, strict=True) if best > 0.5]
    return Standing(
        name=name,
        ranker=ranker,
        marks=marks,
        auc=mean(aucs),
        auc_sd=stdev(aucs),
        logloss=mean(fold["test/logloss"] for fold in folds),
        num_parameters=sum(parameters),
        num_dense_parameters=parameters[1],
        samples_per_s=sorted(fold["perf/samples_per_s"] for fold in folds)[len(folds) // 2],
        share_of_best=mean(shares) if len(shares) == len(aucs) else None,
        folds=tuple(aucs),
    )


def kept_standing(directory: Path, marks: str) -> Standing | None:
    """The standing that an earlier leaderboard left there for the same settings and rows."""
    path = directory / STANDING
    if not path.exists():
        return None
    plain = json.loads(path.read_text())
    return Standing(**{**plain, "folds": tuple(plain["folds"])}) if plain.get("marks") == marks else None


def begin(directory: Path, marks: str) -> None:
    """Make room for a ranker's runs: those of other settings or rows go, finished folds of the same ones stay."""
    path = directory / BEGUN
    if path.exists() and json.loads(path.read_text()) == marks:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write_json(path, marks)


def keep(directory: Path, standing: Standing) -> None:
    """Leave a standing for later leaderboards."""
    write_json(directory / STANDING, asdict(standing))
