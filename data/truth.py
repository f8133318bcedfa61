"""The true click probabilities that the generator wrote beside a raw file, read along with its lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.manifest import sha256_of_file
from data.storage import open_parquet


def truth_path_of(raw_path: Path) -> Path:
    """Where the true click probabilities of a raw file lie: `x.tsv.gz` and `x.tsv` have `x.truth.parquet` beside them."""
    return raw_path.with_name(f"{raw_stem(raw_path)}.truth.parquet")


def raw_stem(raw_path: Path) -> str:
    """The name of a raw file without .tsv, .txt and .gz."""
    return raw_path.name.removesuffix(".gz").removesuffix(".tsv").removesuffix(".txt")


def have_truth(raw_paths: Sequence[Path]) -> bool:
    """Whether every one of these raw files has its true click probabilities beside it."""
    return all(truth_path_of(path).exists() for path in raw_paths)


def iter_truth(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Probabilities (float64) and the labels drawn from them (int8) of a `.truth.parquet` file, some rows at a time."""
    for group in _row_groups(pq.ParquetFile(path), ["probability", "label"]):
        yield group["probability"].to_numpy(), group["label"].to_numpy()


class TruthCursor:
    """Hands out the probabilities of consecutive lines of one raw file, holding one row group at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = open_parquet(path, verify_pages=False)
            self._groups = _row_groups(self._file, ["row_id", "probability"])
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read: {error}. Move it away, or generate it again.") from error
        self._rest = np.empty(0)
        self._num_read = 0

    @property
    def num_rows(self) -> int:
        return self._file.metadata.num_rows

    def take(self, num_lines: int) -> np.ndarray:
        """Probabilities, float64, of the next `num_lines` lines. DataError where the file ends early or row ids jump."""
        taken = [self._rest]
        while sum(map(len, taken)) < num_lines:
            taken.append(self._next_group())
        joined = np.concatenate(taken)
        self._rest = joined[num_lines:]
        return joined[:num_lines]

    def close(self, num_lines: int) -> None:
        """Check that the raw file had as many lines as there are probabilities."""
        if num_lines != self.num_rows:
            raise self._mismatch(f"the raw file has {num_lines} lines, it has {self.num_rows}")
        self._file.close()

    def sha256(self) -> str:
        return sha256_of_file(self._path)

    def _next_group(self) -> np.ndarray:
        group = next(self._groups, None)
        if group is None:
            raise self._mismatch(f"the raw file has more lines than its {self.num_rows}")
        expected = np.arange(self._num_read, self._num_read + group.num_rows)
        if not np.array_equal(group["row_id"].to_numpy(), expected):
            raise self._mismatch(f"its row ids do not count up at row {self._num_read}")
        self._num_read += group.num_rows
        return group["probability"].to_numpy()

    def _mismatch(self, what: str) -> DataError:
        return DataError(
            f"{self._path} does not belong to the raw file beside it: {what}. Move it away, or generate both again."
        )


def _row_groups(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.Table]:
    """One row group at a time. (`iter_batches` holds on to what it has read: memory would grow with the file.)"""
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=columns)
