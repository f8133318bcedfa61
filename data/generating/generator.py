"""Text with a planted click model, Criteo's format or a CSV with lists, and beside it the true click probability of every row."""

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from data.aside import written_aside
from data.config import GenerateConfig
from data.criteo import DENSE_NAMES, SPARSE_NAMES
from data.errors import DataError
from data.generating.planted import PlantedModel, PlantedRows
from data.generating.planted_lists import ListRows, PlantedLists, lists_table
from data.generating.traps import spring
from data.truth import truth_path_of

CHUNK_ROWS = 65_536
# The model itself draws from [seed, 0] and [seed, 1].
_ROWS = 2
TRUTH_SCHEMA = pa.schema([("row_id", pa.int64()), ("label", pa.int8()), ("probability", pa.float64())])

_Model = PlantedModel | PlantedLists
_Rows = PlantedRows | ListRows

_TEXT_OPTIONS = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
_HEX_PAIRS = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), dtype=np.uint16)


@dataclass(frozen=True)
class GeneratedFile:
    """One written file of Criteo-format text and the Parquet file of its rows' true click probabilities."""

    path: Path

    @property
    def truth_path(self) -> Path:
        return truth_path_of(self.path)


def generate(config: GenerateConfig) -> list[GeneratedFile]:
    """The files written: one, or a folder with one per day. The same settings give the same bytes.

    Each day is a file of its own seed. DataError where the output cannot be written or holds what was not generated.
    """
    output = Path(config.output)
    model = PlantedLists(config) if config.kind == "lists" else PlantedModel(config)
    _check_replaceable(output, config.num_days)
    if config.num_days == 1:
        return [_write_file(output, model, config, 0, config.num_rows)]
    ends = [config.num_rows * (day + 1) // config.num_days for day in range(config.num_days)]
    with written_aside(output) as folder:
        for day, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            _write_file(folder / f"day_{day}", model, config, day, end - start)
    return [GeneratedFile(output / f"day_{day}") for day in range(config.num_days)]


def scramble(values: np.ndarray) -> np.ndarray:
    """A bijection on uint32 (the finaliser of MurmurHash3): neighbouring numbers become unlike ids, no two the same."""
    values = values.astype(np.uint32)
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def _check_replaceable(output: Path, num_days: int) -> None:
    if num_days == 1 and output.is_dir():
        raise DataError(
            f"{output} is a folder; expected a file such as {output / 'train.tsv.gz'} (or num_days above 1)."
        )
    if num_days > 1 and output.is_file():
        raise DataError(f"{output} is a file; expected a folder for {num_days} days (or num_days=1).")
    was_generated = truth_path_of(output / "day_0" if num_days > 1 else output).exists()
    is_empty = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not (is_empty or was_generated):
        raise DataError(f"{output} is there already and was not generated. Choose another output, or move it away.")


def _write_file(path: Path, model: _Model, config: GenerateConfig, day: int, num_rows: int) -> GeneratedFile:
    with (
        written_aside(truth_path_of(path)) as truth_partial,
        written_aside(path) as partial,
        _open_text(partial, path.suffix == ".gz") as text,
        pq.ParquetWriter(truth_partial, TRUTH_SCHEMA) as truth,
    ):
        for first_row, rows in _chunks(model, config, day, num_rows):
            _write_text(rows, text, is_first=first_row == 0)
            truth.write_table(_truth_table(first_row, rows))
    return GeneratedFile(path)


def _chunks(model: _Model, config: GenerateConfig, day: int, num_rows: int) -> Iterator[tuple[int, _Rows]]:
    """First row number and rows of each chunk; a chunk's draws depend on (seed, day, chunk) alone."""
    for chunk, first_row in enumerate(range(0, num_rows, CHUNK_ROWS)):
        rng = np.random.default_rng([config.seed, _ROWS, day, chunk])
        rows = model.draw(rng, min(CHUNK_ROWS, num_rows - first_row), day)
        yield first_row, spring(config.trap, rows, rng)


def _write_text(rows: _Rows, text: BinaryIO, is_first: bool) -> None:
    """Criteo's format has no header; a CSV with lists begins with one."""
    if isinstance(rows, PlantedRows):
        pa_csv.write_csv(_text_table(rows), text, _TEXT_OPTIONS)
        return
    pa_csv.write_csv(lists_table(rows), text, pa_csv.WriteOptions(include_header=is_first, quoting_style="none"))


@contextlib.contextmanager
def _open_text(path: Path, is_gzip: bool) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        if not is_gzip:
            yield file
            return
        # Neither name nor time in the header: the bytes depend on the contents alone.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as compressed:
            yield compressed  # pyright: ignore[reportReturnType]


def _text_table(rows: PlantedRows) -> pa.Table:
    integers = [pa.array(x, mask=m) for x, m in zip(rows.integers, rows.integer_missing, strict=True)]
    ids = [_hex_ids(f, r, m) for f, (r, m) in enumerate(zip(rows.ranks, rows.rank_missing, strict=True))]
    columns = [pa.array(rows.labels.view(np.int8)), *integers, *ids]
    return pa.table(columns, names=["label", *DENSE_NAMES, *SPARSE_NAMES])


def _hex_ids(feature: int, ranks: np.ndarray, missing: np.ndarray) -> pa.Array:
    """The ids as strings of 8 hex digits. The feature is part of the scrambled number: features share no ids."""
    ids = scramble(ranks + (1 + feature << 25))
    digits = _HEX_PAIRS[ids.astype(">u4").view(np.uint8)]
    offsets = np.arange(0, 8 * len(ids) + 1, 8, dtype=np.int32)
    valid = pa.array(~missing).buffers()[1]
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(digits), valid)


def _truth_table(first_row: int, rows: _Rows) -> pa.Table:
    row_ids = np.arange(first_row, first_row + len(rows.labels), dtype=np.int64)
    return pa.table([row_ids, rows.labels.view(np.int8), rows.probabilities], schema=TRUTH_SCHEMA)
