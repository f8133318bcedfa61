"""The ids of one feature after another, in the order of the rows, wherever they lie: prepared, Parquet, or Criteo text."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.criteo import SPARSE_NAMES
from data.errors import DataError
from data.manifest import MANIFEST_NAME, Manifest
from data.raw.raw_blocks import RawText
from data.raw.raw_files import raw_files
from data.raw.raw_rows import parse_block

_BLOCK_BYTES = 4 << 20


def feature_ids(
    source: str, features: Sequence[str] = (), *, split: str = "train", max_rows: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Each feature's name and ids, any integers, of the first `max_rows` rows; lists one after the other.

    A missing value counts as an id of its own: it looks up a table row like any other. DataError for what cannot be read, or a
    feature that is not there.
    """
    path = Path(source)
    if (path / MANIFEST_NAME).exists():
        return _prepared(path, features, split, max_rows)
    if path.suffix == ".parquet" and path.is_file():
        return _stored([path], _known(features, pq.read_schema(path).names, source), max_rows)
    return _raw(source, features, max_rows)


def _prepared(directory: Path, features: Sequence[str], split: str, max_rows: int) -> Iterator[tuple[str, np.ndarray]]:
    manifest = Manifest.load(directory)
    names = manifest.schema.sparse_names
    parts = [directory / part.path for part in manifest.split(split).parts]
    return _stored(parts, _known(features or names, names, str(directory)), max_rows)


def _stored(paths: list[Path], names: Sequence[str], max_rows: int) -> Iterator[tuple[str, np.ndarray]]:
    if not names:
        raise DataError(f"{paths[0]}: name the columns to learn from (features=[...]).")
    for name in names:
        yield name, _codes(_column(paths, name, max_rows))


def _column(paths: list[Path], name: str, max_rows: int) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    for path in paths:
        try:
            for batch in pq.ParquetFile(path).iter_batches(columns=[name]):
                chunks.append(batch.column(0).slice(0, max_rows))
                max_rows -= len(chunks[-1])
                if max_rows <= 0:
                    return pa.chunked_array(chunks)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read: {error}.") from error
    return pa.chunked_array(chunks) if chunks else pa.chunked_array([pa.array([], pa.int32())])


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64: the values where they are integers without gaps, else numbers for distinct ones."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks])
    if pa.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy().astype(np.int64)
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _raw(source: str, features: Sequence[str], max_rows: int) -> Iterator[tuple[str, np.ndarray]]:
    names = _known(features or SPARSE_NAMES, SPARSE_NAMES, source)
    places = [SPARSE_NAMES.index(name) for name in names]
    blocks, num_rows = [], 0
    for block in RawText(raw_files(source), _BLOCK_BYTES):
        rows = parse_block(block)
        ids = np.where(rows.id_missing[places], np.int64(-1), rows.ids[places])
        blocks.append(ids.astype(np.int64))
        num_rows += ids.shape[1]
        if num_rows >= max_rows:
            break
    for place, name in enumerate(names):
        yield name, np.concatenate([block[place] for block in blocks])[:max_rows]


def _known(wanted: Sequence[str], known: Sequence[str], source: str) -> Sequence[str]:
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=5, cutoff=0) or known[:5]
            raise DataError(f"{source} has no feature {name!r}. Nearest by name: {', '.join(near)}.")
    return wanted
