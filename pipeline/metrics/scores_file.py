"""Files of scores, Parquet or CSV, one file or a directory of parts: found, checked and read in bounded pieces."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.errors import DataError
from pipeline.evaluate_config import ColumnsConfig

BATCH_ROWS = 1 << 18
_SUFFIXES = (".parquet", ".csv", ".csv.gz")


@dataclass(frozen=True, kw_only=True)
class ScoreBatch:
    """Rows of a scores file. `row_ids` int64 and `weights` float64 are None where the file lacks them; all [N]."""

    scores: NDArray
    labels: NDArray
    row_ids: NDArray | None
    weights: NDArray | None
    others: pa.Table


class ScoresFile:
    """The scores at `path`: a .parquet, .csv or .csv.gz file, a directory of them, or a run's directory (its `split`).

    Raises DataError for a path that is not there, is empty, is torn, or lacks a column.
    """

    def __init__(self, path: str | Path, columns: ColumnsConfig | None = None, *, split: str = "test") -> None:
        self.path = Path(path)
        self.columns = columns or ColumnsConfig()
        self.files = _files(self.path, split)
        self._schemas = [_schema(file) for file in self.files]
        for file, schema in zip(self.files, self._schemas, strict=True):
            _check_columns(file, schema.names, [self.columns.score, self.columns.label])
        names = set.intersection(*(set(schema.names) for schema in self._schemas))
        self.has_row_ids = self.columns.row_id in names
        self.has_weights = self.columns.weight in names
        own = {self.columns.score, self.columns.label, self.columns.row_id, self.columns.weight}
        self.other_names = tuple(sorted(names - own))

    @property
    def score_dtype(self) -> type:
        """float32 where every file holds float32 (or half) scores, else float64 (any CSV)."""
        types = [schema.field(self.columns.score).type for schema in self._schemas]
        return np.float32 if all(kind in (pa.float32(), pa.float16()) for kind in types) else np.float64

    def batches(self, others: Sequence[str] = ()) -> Iterator[ScoreBatch]:
        """All rows in file order, a bounded number at a time, with the columns named in `others` beside them."""
        for file in self.files:
            _check_columns(file, self._schemas[self.files.index(file)].names, others)
            with _readable(file):
                for table in _tables(file, self._wanted(others), self._csv_types()):
                    yield self._batch(table, others)

    def read(self, others: Sequence[str] = ()) -> ScoreBatch:
        """All rows at once."""
        batches = list(self.batches(others))
        if not batches:
            raise DataError(f"{self.path} has no rows: nothing was scored, or the file was cut off after its header")
        return ScoreBatch(
            scores=np.concatenate([batch.scores for batch in batches]),
            labels=np.concatenate([batch.labels for batch in batches]),
            row_ids=_joined([batch.row_ids for batch in batches]),
            weights=_joined([batch.weights for batch in batches]),
            others=pa.concat_tables([batch.others for batch in batches], promote_options="permissive"),
        )

    def _wanted(self, others: Sequence[str]) -> list[str]:
        wanted = [self.columns.score, self.columns.label, *others]
        wanted += [self.columns.row_id] if self.has_row_ids else []
        return list(dict.fromkeys(wanted + ([self.columns.weight] if self.has_weights else [])))

    def _csv_types(self) -> dict[str, pa.DataType]:
        numbers = (self.columns.score, self.columns.label, self.columns.weight)
        return {**dict.fromkeys(numbers, pa.float64()), self.columns.row_id: pa.int64()}

    def _batch(self, table: pa.Table, others: Sequence[str]) -> ScoreBatch:
        def numbers(name: str, dtype: type) -> NDArray:
            return _numbers(table.column(name), name, self.path).astype(dtype, copy=False)

        labels = _numbers(table.column(self.columns.label), self.columns.label, self.path)
        return ScoreBatch(
            scores=numbers(self.columns.score, self.score_dtype),
            labels=labels,
            row_ids=_row_ids(table.column(self.columns.row_id), self.columns.row_id, self.path)
            if self.has_row_ids
            else None,
            weights=numbers(self.columns.weight, np.float64) if self.has_weights else None,
            others=table.select(list(dict.fromkeys(others))),
        )


def is_scores_file(path: str | Path) -> bool:
    """Whether `path` names a file of scores (by its ending), or a directory that holds some and is no run."""
    place = Path(path)
    return place.name.endswith(_SUFFIXES) or (place.is_dir() and bool(_parts(place)))


def _files(path: Path, split: str) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a Parquet or CSV file of scores, or a run's directory")
    for place in (path, path / "scores" / split, path / split):
        if place.is_dir() and _parts(place):
            return _parts(place)
    raise DataError(
        f"{path} holds no scores: expected .parquet or .csv files in it, in {path / 'scores' / split} or in {path / split};"
        " `shardline evaluate <checkpoint> --out DIR` writes them"
    )


def _parts(directory: Path) -> list[Path]:
    return sorted(file for file in directory.iterdir() if file.is_file() and file.name.endswith(_SUFFIXES))


def _schema(file: Path) -> pa.Schema:
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty (0 bytes); the job that wrote it did not finish: write it again")
    with _readable(file):
        if file.name.endswith(".parquet"):
            return pq.read_schema(file)
        if file.name.endswith(".csv"):
            _check_ending(file)
        return pa_csv.open_csv(file, read_options=pa_csv.ReadOptions(block_size=1 << 16)).schema


def _check_ending(file: Path) -> None:
    with file.open("rb") as stream:
        stream.seek(-1, 2)
        if stream.read(1) not in b"\r\n":
            raise DataError(
                f"{file} ends in the middle of a line: it seems torn. Write it again; if it is whole, end its last line"
            )


def _check_columns(file: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        close = difflib.get_close_matches(missing[0], found, n=len(found), cutoff=0.0)
        raise DataError(
            f"{file} has no column {', '.join(map(repr, missing))}; it has {', '.join(close or found)}."
            " Say which one to take by the settings columns.score, columns.label ..."
        )


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DataError(f"{file} cannot be read: {error}. It is torn or no file of scores: write it again") from error


def _tables(file: Path, names: list[str], types: dict[str, pa.DataType]) -> Iterator[pa.Table]:
    if file.name.endswith(".parquet"):
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=names):
                yield pa.Table.from_batches([batch])
        return
    known = {name: types[name] for name in names if name in types}
    options = pa_csv.ConvertOptions(include_columns=names, column_types=known)
    for batch in pa_csv.open_csv(file, pa_csv.ReadOptions(block_size=16 << 20), convert_options=options):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])


def _numbers(column: Any, name: str, path: Path) -> NDArray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"column {name!r} of {path} holds {column.type}; expected numbers")
    return column.to_numpy()  # a missing value becomes NaN


def _row_ids(column: Any, name: str, path: Path) -> NDArray:
    if column.null_count or not pa.types.is_integer(column.type):
        found = f"{column.null_count:,} missing values" if column.null_count else f"values of type {column.type}"
        raise DataError(f"column {name!r} of {path} holds {found}; expected a whole number in every row")
    return column.to_numpy().astype(np.int64, copy=False)


def _joined(columns: Sequence[NDArray | None]) -> NDArray | None:
    return None if columns[0] is None else np.concatenate([column for column in columns if column is not None])
