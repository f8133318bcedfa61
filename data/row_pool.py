"""Decoded rows at hand: row groups are unpacked into slots of a few large arrays, from which batches are gathered.

The slots are used again and again, so memory is taken once, and a gather over hundreds of row groups is one index per column.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.batch import PADDING_ROW_ID
from data.blocks import OneHotBlock, OneHotLayout, empty_one_hot_block, ids_dtype
from data.errors import DataError
from data.stored_split import MAX_OPEN_PARTS, PREPARE_AGAIN, Piece, StoredSplit

# Address 0 is a row of evaluation's padding; slot s begins at address 1 + s * rows of a row group.
PADDING_ADDRESS = 0


class RowPool:
    """The rows of the row groups that were loaded and not yet let go. One per iterator: not for use from several threads.

    An address is a row's place in the pool's arrays, valid until its row group is let go. Only the columns that a batch needs
    are read. DataError names file and row group where one cannot be read, and feature, value and row where an id lies outside
    its table.
    """

    def __init__(self, stored: StoredSplit) -> None:
        self._stored = stored
        self._schema = stored.schema
        self._table_sizes = np.array([feature.num_embeddings for feature in self._schema.sparse])
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._slots: dict[tuple[int, int], int] = {}
        self._free_slots: list[int] = []
        self._num_slots = 0
        self._allocate(0)

    def load(self, pieces: Iterable[Piece]) -> None:
        """Decode the row groups of these pieces, unless they are at hand."""
        missing = {(piece.part, piece.group): None for piece in pieces if (piece.part, piece.group) not in self._slots}
        if len(missing) > len(self._free_slots):
            # Twice what is needed now: memory that is not written to costs nothing, moving all rows would.
            self._allocate(2 * (len(self._slots) + len(missing)))
        for part, group in missing:
            self._decode(part, group, self._free_slots[-1])
            self._slots[part, group] = self._free_slots.pop()

    def keep_only(self, pieces: Iterable[Piece]) -> None:
        """Let go of every row group that holds none of these pieces."""
        wanted = {(piece.part, piece.group) for piece in pieces}
        for key in [key for key in self._slots if key not in wanted]:
            self._free_slots.append(self._slots.pop(key))

    def addresses(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Where the rows of these loaded pieces are, in order; int64."""
        if not pieces:
            return np.empty(0, np.int64)
        firsts = (
            (1 + self._slots[part, group] * self._stored.group_rows, begin, end) for part, group, begin, end in pieces
        )
        return np.concatenate([np.arange(first + begin, first + end) for first, begin, end in firsts])

    def gather(self, addresses: np.ndarray, layout: OneHotLayout) -> OneHotBlock:
        """The rows at the addresses, shape [steps, rows per step], as a block."""
        num_steps, batch_size = addresses.shape
        block = empty_one_hot_block(self._schema, num_steps, batch_size, layout)
        np.take(self._dense, addresses, axis=0, out=block.dense, mode="clip")
        for feature, ids in enumerate(self._ids):
            block.ids[:, feature] = ids[addresses]
        np.take(self._labels, addresses, out=block.labels, mode="clip")
        np.take(self._row_ids, addresses, out=block.row_ids, mode="clip")
        return block

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def _allocate(self, num_slots: int) -> None:
        """Make room for this many row groups; the rows at hand keep their addresses."""
        num_rows = 1 + num_slots * self._stored.group_rows
        held = 1 + self._num_slots * self._stored.group_rows if self._num_slots else 0
        ids = np.empty((len(self._schema.sparse), num_rows), ids_dtype(self._schema))
        dense = np.empty((num_rows, len(self._schema.dense)), np.float32)
        labels, row_ids = np.empty(num_rows, np.float32), np.empty(num_rows, np.int64)
        if held:
            ids[:, :held], dense[:held] = self._ids, self._dense
            labels[:held], row_ids[:held] = self._labels, self._row_ids
        ids[:, PADDING_ADDRESS], dense[PADDING_ADDRESS], labels[PADDING_ADDRESS] = 0, 0.0, 0.0
        row_ids[PADDING_ADDRESS] = PADDING_ROW_ID
        self._ids, self._dense, self._labels, self._row_ids = ids, dense, labels, row_ids
        # Lowest slot last: slots that were never needed are never touched.
        self._free_slots = [*range(num_slots - 1, self._num_slots - 1, -1), *self._free_slots]
        self._num_slots = num_slots

    def _decode(self, part: int, group: int, slot: int) -> None:
        columns = self._read(part, group)
        first = 1 + slot * self._stored.group_rows
        rows = slice(first, first + len(columns[0]))
        self._row_ids[rows], self._labels[rows] = columns[:2]
        for i, column in enumerate(columns[2:], -len(self._schema.dense)):
            if i < 0:
                self._dense[rows, i] = column
            else:
                self._ids[i, rows] = column
        self._check_ids(part, group, rows)

    def _read(self, part: int, group: int) -> list[np.ndarray]:
        try:
            table = self._file(part).read_row_group(group, columns=self._stored.columns, use_threads=False)
            return [table.column(name).chunk(0).to_numpy(zero_copy_only=True) for name in self._stored.columns]
        except (pa.ArrowException, OSError, KeyError) as error:
            path = self._stored.paths[part]
            raise DataError(f"Row group {group} of {path} cannot be read: {error}. {PREPARE_AGAIN}") from error

    def _check_ids(self, part: int, group: int, rows: slice) -> None:
        ids = self._ids[:, rows]
        wrong = (ids.min(axis=1) < 0) | (ids.max(axis=1) >= self._table_sizes)
        if not wrong.any():
            return
        feature = int(np.argmax(wrong))
        size = self._table_sizes[feature]
        place = int(np.argmax((ids[feature] < 0) | (ids[feature] >= size)))
        where = f"row id {self._row_ids[rows][place]} in row group {group} of {self._stored.paths[part]}"
        raise DataError(
            f"Id {ids[feature, place]} of feature {self._schema.sparse[feature].name!r} is outside its table of {size} rows"
            f" ({where}). Expected 0 to {size - 1}: part and manifest do not belong together."
            " Prepare the dataset again (force=true)."
        )

    def _file(self, part: int) -> pq.ParquetFile:
        if part not in self._files:
            if len(self._files) >= MAX_OPEN_PARTS:
                self._files.popitem(last=False)[1].close()
            self._files[part] = self._stored.open_part(part)
        self._files.move_to_end(part)
        return self._files[part]
