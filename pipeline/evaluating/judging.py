"""A file of scores judged: exact metrics of all rows, of slices of them, and within groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.errors import DataError
from data.reading.reader import read_columns
from pipeline.auc_doctor.diagnosis import diagnose
from pipeline.auc_doctor.findings import Finding
from pipeline.auc_doctor.gathering import gather_evidence
from pipeline.evaluate_config import ScoresConfig
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.exact import ExactScores
from pipeline.metrics.scores_file import ScoreBatch, ScoresFile
from pipeline.metrics.slices import GroupedAuc, Slice, encoded, frequency_codes, grouped_auc, slice_metrics, value_codes

FREQUENCY = ":frequency"
ROW_0 = "row 0 (missing or rare)"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All that is known about one set of scores; `slices` by column as it was asked for."""

    name: str
    evaluation: Evaluation
    split: str | None = None
    """The split of a checkpoint's data; None for a file of scores."""
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    grouped: GroupedAuc | None = None
    findings: Sequence[Finding] = ()

    def flat(self, prefix: str = "") -> dict[str, float]:
        """Metrics under flat keys: `auc`, `gauc`, `slice/<column>/<value>/auc` ..., each behind `prefix`."""
        result = dict(self.evaluation.metrics())
        if self.grouped is not None:
            result |= {"gauc": self.grouped.auc, "gauc_groups": float(self.grouped.num_groups)}
        for column, slices in self.slices.items():
            for item in slices:
                summary = item.evaluation.summary()
                result |= {f"slice/{column}/{item.value}/{key}": value for key, value in summary.items()}
        return {f"{prefix}{key}": value for key, value in result.items()}


def judge_scores(
    path: str | Path, config: ScoresConfig, *, split: str | None = None, evaluation: Evaluation | None = None
) -> Judged:
    """The Judged of the scores at `path` (see ScoresFile), with the slices and groups that the settings ask for.

    `split` and `evaluation` are given for scores of a checkpoint, evaluated already. All rows are counted in bounded memory;
    slices and groups hold the scores and their columns in memory. Raises DataError for a file, a row or a column that cannot
    be used.
    """
    file = ScoresFile(path, config.columns, split=config.data_split)
    evaluation = evaluation or _evaluate(file, config)
    name = split or file.path.name
    wanted = [*config.slices, *([config.group_by] if config.group_by else [])]
    findings = diagnose(gather_evidence(evaluation)) if split is None else ()
    if not wanted:
        return Judged(name=name, evaluation=evaluation, split=split, findings=findings)
    columns = _Columns(file, config, list({item.removesuffix(FREQUENCY): None for item in wanted}))
    return Judged(
        name=name,
        evaluation=evaluation,
        split=split,
        findings=findings,
        slices={item: columns.slices(item) for item in config.slices},
        grouped=columns.grouped(config.group_by) if config.group_by else None,
    )


def _evaluate(file: ScoresFile, config: ScoresConfig) -> Evaluation:
    exact = ExactScores(
        score_dtype=file.score_dtype,
        weighted=file.has_weights,
        with_row_ids=file.has_row_ids,
        memory_mib=config.memory_mib,
        spill_dir=Path(config.spill_dir) if config.spill_dir else None,
        source=str(file.path),
    )
    try:
        for batch in file.batches():
            exact.add(batch.scores, batch.labels, batch.row_ids, batch.weights)
        return exact.evaluate()
    finally:
        exact.close()


class _Columns:
    """The rows of a scores file in memory, with columns of its own or joined from prepared data by row id."""

    def __init__(self, file: ScoresFile, config: ScoresConfig, names: Sequence[str]) -> None:
        own = [name for name in names if name in file.other_names]
        foreign = [name for name in names if name not in file.other_names]
        self._config = config
        self._rows = file.read(own if config.data_path else names)
        self._columns = {name: self._rows.others.column(name) for name in self._rows.others.column_names}
        self._joined_names = frozenset(foreign)
        if foreign:
            self._columns |= _joined_columns(self._rows, config, foreign, file.path)

    def slices(self, item: str) -> list[Slice]:
        name = item.removesuffix(FREQUENCY)
        if item == name:
            values, codes = value_codes(self._columns[name], self._config.max_slices)
        else:
            values, codes = self._frequency_codes(name)
        return slice_metrics(values, codes, self._rows.scores, self._labels, self._rows.weights)

    def grouped(self, name: str) -> GroupedAuc:
        _, codes = encoded(self._columns[name])
        return grouped_auc(codes, self._rows.scores, self._labels, self._rows.weights)

    @property
    def _labels(self) -> NDArray:
        return self._rows.labels.astype(bool)

    def _frequency_codes(self, name: str) -> tuple[list[str], NDArray]:
        """Occurrences of joined ids are counted in the train split, row 0 by itself; others among the scored rows."""
        column = self._columns[name]
        if not pa.types.is_integer(column.type) or column.null_count:
            ids = encoded(column)[1]
            return frequency_codes(ids, ids)
        ids = column.to_numpy()
        if name not in self._joined_names:
            return frequency_codes(ids, ids)
        names, codes = frequency_codes(
            ids, read_columns(str(self._config.data_path), "train", [name]).column(name).to_numpy()
        )
        return [*names, ROW_0], np.where(ids == 0, len(names), codes)


def _joined_columns(
    rows: ScoreBatch, config: ScoresConfig, names: Sequence[str], path: Path
) -> dict[str, pa.ChunkedArray]:
    """Columns of the prepared split in the order of the scored rows."""
    assert config.data_path is not None
    table = read_columns(config.data_path, config.data_split, ["row_id", *names])
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise DataError(
            f"neither {path} nor the {config.data_split} split of {config.data_path} has a column {missing[0]!r};"
            " correct the settings slices and group_by"
        )
    lists = [name for name in names if pa.types.is_list(table.schema.field(name).type)]
    if lists:
        raise DataError(
            f"column {lists[0]!r} of {config.data_path} holds lists; slices and groups need one value per row: take another"
        )
    if rows.row_ids is None:
        raise DataError(f"{path} has no row ids, so the columns of {config.data_path} cannot be joined to it")
    ids = table.column("row_id").to_numpy()
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids[order], rows.row_ids), len(ids) - 1)
    places = order[at]
    unknown = ids[places] != rows.row_ids
    if unknown.any():
        raise DataError(
            f"{np.count_nonzero(unknown):,} of {len(unknown):,} rows of {path} are not in the {config.data_split} split of"
            f" {config.data_path}; the first is row {rows.row_ids[np.argmax(unknown)]}. Name the data they were scored on"
        )
    return {name: table.column(name).take(pa.array(places)) for name in names}
