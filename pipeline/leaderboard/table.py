"""The leaderboard's table: for the terminal, for the report, and inside a Markdown file between two marker lines."""

from collections.abc import Sequence
from pathlib import Path

from data.errors import ConfigError
from pipeline.leaderboard.standing import Standing
from pipeline.reports.document import Column, Table, Value
from pipeline.reports.markdown import markdown_table

END = "<!-- end -->"
_COLUMNS = (
    Column(title="config"),
    Column(title="ranker"),
    Column(title="AUC", spec=".4f"),
    Column(title="± sd", spec=".4f"),
    Column(title="log loss", spec=".4f"),
    Column(title="parameters", spec=",.0f"),
    Column(title="of them dense", spec=",.0f"),
    Column(title="samples/s", spec=",.0f"),
)
_SHARE = Column(title="of the way to the best AUC", spec=".1%")


def standings_table(standings: Sequence[Standing], caption: str = "") -> Table:
    """Best AUC first; with the share of the way to the best possible AUC where that is known."""
    has_share = any(standing.share_of_best is not None for standing in standings)
    ordered = sorted(standings, key=lambda standing: -standing.auc)
    return Table(
        columns=[*_COLUMNS, _SHARE] if has_share else _COLUMNS,
        rows=[_row(standing, has_share) for standing in ordered],
        caption=caption,
        highlighted_rows=(0,),
    )


def text_table(standings: Sequence[Standing]) -> str:
    """Aligned lines for the terminal, best AUC first."""
    lines = [f"{'config':<24} {'AUC':>7} {'sd':>7} {'log loss':>9} {'parameters':>12} {'samples/s':>10} {'of best':>8}"]
    for each in sorted(standings, key=lambda standing: -standing.auc):
        share = f"{each.share_of_best:.1%}" if each.share_of_best is not None else "-"
        lines.append(
            f"{each.name:<24} {each.auc:>7.4f} {each.auc_sd:>7.4f} {each.logloss:>9.4f} {each.num_parameters:>12,}"
            f" {each.samples_per_s:>10,.0f} {share:>8}"
        )
    return "\n".join(lines)


def check_markers(path: Path, name: str) -> None:
    """ConfigError where the Markdown file is not there, or lacks the lines that the table goes between."""
    text = path.read_text() if path.exists() else ""
    start = text.find(_start(name))
    if start < 0 or text.find(END, start) < 0:
        raise ConfigError(
            f"into names {path}, which needs the lines `{_start(name)}` and `{END}` for the table to go between."
        )


def put_into(path: Path, name: str, table: Table) -> None:
    """Renew the table between the file's marker lines."""
    check_markers(path, name)
    before, rest = path.read_text().split(_start(name), 1)
    _, after = rest.split(END, 1)
    aside = path.with_name(f"{path.name}.partial")
    aside.write_text(f"{before}{_start(name)}\n\n{markdown_table(table)}\n\n{END}{after}")
    aside.replace(path)


def _start(name: str) -> str:
    return f"<!-- leaderboard {name} -->"


def _row(standing: Standing, has_share: bool) -> list[Value]:
    row: list[Value] = [
        standing.name,
        standing.ranker,
        standing.auc,
        standing.auc_sd,
        standing.logloss,
        standing.num_parameters,
        standing.num_dense_parameters,
        standing.samples_per_s,
    ]
    return [*row, standing.share_of_best] if has_share else row
