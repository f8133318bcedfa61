"""Decoded rows at hand: row groups are unpacked into slots of a few large arrays, from which batches are gathered.

The slots are used again and again, so memory is taken once, and a gather over hundreds of row groups is one index per column.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from queue import SimpleQueue
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.batch import PADDING_ROW_ID
from data.errors import DataError
from data.reading.blocks import Block, OneHotLayout, empty_one_hot_block, ids_dtype, label_shape
from data.reading.list_pool import ListPool
from data.reading.lists import StoredLists, jagged_block, stored_lists
from data.reading.pages import paged_array
from data.reading.stored_split import LABEL, MAX_OPEN_PARTS, PREPARE_AGAIN, ROW_ID, Piece, StoredSplit

# Slot 0 is kept for one row, evaluation's padding; row i of slot s has address s * rows of a row group + i.
PADDING_ADDRESS = 0
# Two keep up with a consumer that does nothing but read; training takes a small part of what one gives.
_NUM_THREADS = 2


class RowPool:
    """The rows of the row groups that were loaded and not yet released. One per iterator.

    An address is a row's place in the pool's arrays. One thread loads (with threads of the pool's own), addresses and retires;
    another may gather and release at the same time: a retired row group is no longer addressed, but its rows stay until its slot
    is released. DataError names file and row group where one cannot be read, and feature, value and row where an id lies outside
    its table.
    """

    def __init__(self, stored: StoredSplit, *, verify_pages: bool = True, max_open_parts: int = MAX_OPEN_PARTS) -> None:
        self._stored, self._verify_pages, self._max_open_parts = stored, verify_pages, max_open_parts
        self._schema = stored.schema
        self._one_hot = [i for i, feature in enumerate(self._schema.sparse) if not feature.is_list]
        self._one_hot_names = [self._schema.sparse[i].name for i in self._one_hot]
        self._table_sizes = np.array([self._schema.sparse[i].num_embeddings for i in self._one_hot], np.int64)
        self._lists = {
            i: ListPool(stored.group_rows, ids_dtype(self._schema), feature.weighted)
            for i, feature in enumerate(self._schema.sparse)
            if feature.is_list
        }
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="shardline-decode")
        self._filling = Lock()
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._slots: dict[tuple[int, int], int] = {}
        self._free_slots: list[int] = []
        self._released_slots: SimpleQueue[list[int]] = SimpleQueue()
        self._num_retired = 0
        self._num_slots = 0
        self._allocate(1)

    def load(self, pieces: Iterable[Piece]) -> None:
        """Decode the row groups of these pieces, unless they are at hand."""
        while not self._released_slots.empty():
            self._take_back()
        missing = {(piece.part, piece.group): None for piece in pieces if (piece.part, piece.group) not in self._slots}
        if len(missing) > len(self._free_slots):
            # Twice what is needed: memory that is not written to costs nothing, moving all rows would.
            self._allocate(2 * (self._num_slots - len(self._free_slots) + len(missing)))
        self._decode_all({key: self._free_slots.pop() for key in missing})

    def addresses(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Where the rows of these loaded pieces are, in order; int64."""
        if not pieces:
            return np.empty(0, np.int64)
        firsts = (
            (self._slots[part, group] * self._stored.group_rows, begin, end) for part, group, begin, end in pieces
        )
        return np.concatenate([np.arange(first + begin, first + end) for first, begin, end in firsts])

    def retire_all_but(self, pieces: Iterable[Piece]) -> list[int]:
        """Forget every row group that holds none of these pieces; the slots, to be released when the last row is gathered."""
        wanted = {(piece.part, piece.group) for piece in pieces}
        slots = [self._slots.pop(key) for key in list(self._slots) if key not in wanted]
        self._num_retired += len(slots)
        return slots

    def release(self, slots: list[int]) -> None:
        """Give slots of retired row groups back, to be written over."""
        self._released_slots.put(slots)

    def wait_for_release(self) -> None:
        """Return when all that was retired is released: before many new row groups are needed at once."""
        while self._num_retired:
            self._take_back()

    def _take_back(self) -> None:
        slots = self._released_slots.get()
        self._free_slots += slots
        self._num_retired -= len(slots)

    def gather(self, addresses: np.ndarray, layout: OneHotLayout) -> Block:
        """The rows at these addresses, [steps, rows per step], as a block with memory of its own."""
        num_steps, batch_size = addresses.shape
        block = empty_one_hot_block(self._schema, num_steps, batch_size, layout, num_features=len(self._one_hot))
        np.take(self._dense, addresses, axis=0, out=block.dense, mode="clip")
        np.take(self._labels, addresses, axis=0, out=block.labels, mode="clip")
        np.take(self._row_ids, addresses, out=block.row_ids, mode="clip")
        # In a slot the ids lie feature by feature. Skip the other features of the slots before, then one feature at a time.
        group_rows, num_features = self._stored.group_rows, len(self._one_hot)
        places, ids = addresses + addresses // group_rows * ((num_features - 1) * group_rows), self._ids.reshape(-1)
        taken = np.empty(places.shape, block.ids.dtype)
        for feature in range(num_features):
            np.take(ids[feature * group_rows :], places, out=taken, mode="clip")
            block.ids[:, feature] = taken
        if not self._lists:
            return block
        bags = {feature: pool.gather(addresses.reshape(-1)) for feature, pool in self._lists.items()}
        return jagged_block(self._schema, block, bags)

    def close(self) -> None:
        self._threads.shutdown()
        while self._files:
            self._files.popitem()[1].close()

    def _allocate(self, num_slots: int) -> None:
        """Make room for this many row groups; the rows at hand keep their addresses."""
        num_rows, num_held = num_slots * self._stored.group_rows, self._num_slots * self._stored.group_rows
        ids = paged_array((num_slots, len(self._one_hot), self._stored.group_rows), ids_dtype(self._schema))
        dense = paged_array((num_rows, len(self._schema.dense)), np.float32)
        labels = paged_array((num_rows, *label_shape(self._schema)), np.float32)
        row_ids = paged_array((num_rows,), np.int64)
        if num_held:
            ids[: self._num_slots], dense[:num_held] = self._ids, self._dense
            labels[:num_held], row_ids[:num_held] = self._labels, self._row_ids
        else:
            ids[0, :, 0], dense[PADDING_ADDRESS], labels[PADDING_ADDRESS] = 0, 0.0, 0.0
            row_ids[PADDING_ADDRESS] = PADDING_ROW_ID
        for pool in self._lists.values():
            pool.allocate(num_slots)
        self._ids, self._dense, self._labels, self._row_ids = ids, dense, labels, row_ids
        # Lowest slot last, as it is taken first: slots that were never needed are never touched.
        self._free_slots = [*range(num_slots - 1, max(self._num_slots, 1) - 1, -1), *self._free_slots]
        self._num_slots = num_slots

    def _decode_all(self, slots: dict[tuple[int, int], int]) -> None:
        """Decode row groups into their slots: a part is one thread's, several parts are decoded at the same time."""
        groups_of_parts: dict[int, list[tuple[int, int]]] = {}
        for (part, group), slot in slots.items():
            groups_of_parts.setdefault(part, []).append((group, slot))
        for parts in _batched(groups_of_parts, self._max_open_parts):
            # All are opened before any thread begins: opening one closes the one that was not used for longest.
            files = [self._file(part) for part in parts]
            tasks = [
                self._threads.submit(self._decode_part, part, file, groups_of_parts[part])
                for part, file in zip(parts, files, strict=True)
            ]
            wait(tasks)
            for task in tasks:
                task.result()
        self._slots |= slots

    def _decode_part(self, part: int, file: pq.ParquetFile, groups: list[tuple[int, int]]) -> None:
        for group, slot in groups:
            self._decode(part, file, group, slot)

    def _decode(self, part: int, file: pq.ParquetFile, group: int, slot: int) -> None:
        first = slot * self._stored.group_rows
        try:
            table = file.read_row_group(group, columns=self._stored.columns, use_threads=False)
            rows = slice(first, first + table.num_rows)
            self._row_ids[rows], self._labels[rows] = _column(table, ROW_ID), self._labels_of(table)
            for place, name in enumerate(self._schema.dense):
                self._dense[rows, place] = _column(table, name)
            ids = self._ids[slot, :, : table.num_rows]
            for place, name in enumerate(self._one_hot_names):
                ids[place] = _column(table, name)
            lists = {feature: stored_lists(table, self._schema.sparse[feature]) for feature in self._lists}
        except (pa.ArrowException, OSError) as error:
            path = self._stored.paths[part]
            raise DataError(f"Row group {group} of {path} cannot be read: {error}. {PREPARE_AGAIN}") from error
        if self._one_hot:
            self._check_ids(ids, part, group, rows)
        for feature, found in lists.items():
            self._check_list(feature, found, part, group, rows)
            with self._filling:
                self._lists[feature].fill(slot, found.offsets, found.ids, found.weights)

    def _labels_of(self, table: pa.Table) -> np.ndarray:
        """[rows], or [rows, targets]; null becomes NaN."""
        if not self._schema.targets:
            return _column(table, LABEL)
        columns = (table.column(name).chunk(0) for name in self._stored.labels)
        return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)

    def _check_ids(self, ids: np.ndarray, part: int, group: int, rows: slice) -> None:
        # Read without a sign, an id below zero is larger than any table.
        if np.all(ids.view(f"u{ids.itemsize}").max(axis=1) < self._table_sizes):
            return
        place, row = np.argwhere((ids < 0) | (ids >= self._table_sizes[:, None]))[0].tolist()
        raise self._beyond(self._one_hot[place], int(ids[place, row]), row, part, group, rows)

    def _check_list(self, feature: int, found: StoredLists, part: int, group: int, rows: slice) -> None:
        size = self._schema.sparse[feature].num_embeddings
        if not len(found.ids) or (found.ids.min() >= 0 and found.ids.max() < size):
            return
        place = int(np.argmax((found.ids < 0) | (found.ids >= size)))
        row = int(np.searchsorted(found.offsets - found.offsets[0], place, side="right")) - 1
        raise self._beyond(feature, int(found.ids[place]), row, part, group, rows)

    def _beyond(self, feature: int, found: int, row: int, part: int, group: int, rows: slice) -> DataError:
        spec = self._schema.sparse[feature]
        where = f"row id {self._row_ids[rows][row]} in row group {group} of {self._stored.paths[part]}"
        return DataError(
            f"Id {found} of feature {spec.name!r} is outside its table of {spec.num_embeddings} rows ({where})."
            f" Expected 0 to {spec.num_embeddings - 1}: part and manifest do not belong together."
            " Prepare the dataset again (force=true)."
        )

    def _file(self, part: int) -> pq.ParquetFile:
        if part not in self._files:
            if len(self._files) >= self._max_open_parts:
                self._files.popitem(last=False)[1].close()
            self._files[part] = self._stored.open_part(part, verify_pages=self._verify_pages)
        self._files.move_to_end(part)
        return self._files[part]


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).chunk(0).to_numpy(zero_copy_only=True)


def _batched(items: Iterable[int], size: int) -> Iterator[list[int]]:
    rest = iter(items)
    while taken := list(islice(rest, size)):
        yield taken
