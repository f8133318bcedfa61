"""The leaderboard: every ranker cross-validated on the same rows, one table of them all."""

from dataclasses import replace
from pathlib import Path

from models.build import build_ranker
from pipeline.config import TrainConfig
from pipeline.jobs.cross_validate import cross_validate, fold_directory, prepare_folds
from pipeline.leaderboard.entries import Entry, load_entries
from pipeline.leaderboard.report import leaderboard_report
from pipeline.leaderboard.standing import Standing, begin, keep, kept_standing, standing_of
from pipeline.leaderboard.table import check_markers, put_into, standings_table, text_table
from pipeline.leaderboard_config import LeaderboardConfig
from pipeline.ranks import Ranks, joined_ranks
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import write_report
from pipeline.settings import fingerprint, to_plain
from pipeline.sources import open_source


def run(config: LeaderboardConfig) -> int:
    """Train what is not there yet, print and write the table; 0 when all are done."""
    if config.into is not None:
        check_markers(Path(config.into), config.name)
    entries = load_entries(config)
    first = entries[0].config.train
    with joined_ranks(first.device, first.training.threads_per_rank, first.training.timeout_s) as ranks:
        standings = [_stand(entry, ranks) for entry in entries]
        ranks.on_zero(lambda: _publish(config, standings))
    return 0


def _stand(entry: Entry, ranks: Ranks) -> Standing:
    """The standing of one ranker, from an earlier leaderboard or by training it now; a collective."""
    rows = ranks.on_zero(lambda: prepare_folds(entry.config, entry.folds))
    marks = fingerprint([to_plain(entry.config), rows])
    directory = Path(entry.config.out)
    found = ranks.on_zero(lambda: kept_standing(directory, marks))
    if found is not None:
        return found
    ranks.on_zero(lambda: begin(directory, marks))
    folds = cross_validate(entry.config, ranks, entry.folds, keep_finished=True)
    return ranks.on_zero(lambda: _kept(entry, marks, folds))


def _kept(entry: Entry, marks: str, folds: list[dict[str, float]]) -> Standing:
    config = entry.config.train
    parameters = _num_parameters(config, fold_directory(entry.folds, 0))
    standing = standing_of(entry.name, config.model.ranker, marks, folds, parameters)
    keep(Path(entry.config.out), standing)
    return standing


def _num_parameters(config: TrainConfig, prepared: Path) -> tuple[int, int]:
    """Stored values of the tables, and of everything else."""
    source = open_source(replace(config.data, source="prepared", path=str(prepared)), config.training.seed)
    ranker = build_ranker(config.model, source.schema, dense_scale=source.dense_scale)
    tables = sum(weight.numel() for weight in ranker.ebc.parameters())
    return tables, sum(weight.numel() for weight in ranker.parameters()) - tables


def _publish(config: LeaderboardConfig, standings: list[Standing]) -> None:
    print(text_table(standings))
    if config.into is not None:
        put_into(Path(config.into), config.name, standings_table(standings))
    provenance = {"Rows": config.source, "Settings": ", ".join(config.configs), **environment_facts()}
    report = leaderboard_report(config.name, config.source, standings, provenance)
    print(f"\nreport  {write_report(config.out, report, name='leaderboard')}")
