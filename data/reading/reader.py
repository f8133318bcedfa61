"""Prepared rows as batches: shuffled and resumable for training, in row order and complete for evaluation.

Legend: R ranks, B rows of the global batch, b rows that a step takes from a lane (data/reading/order.py).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.batch import Batch
from data.errors import DataError
from data.reading.blocks import Block, OneHotLayout, batches_of
from data.reading.order import DEFAULT_WINDOW_ROWS, SampleOrder
from data.reading.prefetch import Prefetched
from data.reading.row_pool import PADDING_ADDRESS, RowPool
from data.reading.shares import check_one_step, eval_share, even_batch_size, train_batch_size
from data.reading.stored_split import PREPARE_AGAIN, Piece, StoredSplit
from data.schema import Schema

WINDOWS_AHEAD = 1
"""Windows that wait decoded, besides one that is being decoded and one gathered: each takes tens of MiB."""
EVAL_WINDOW_ROWS = 16_384
"""Rows of a rank that evaluation decodes at a time: nothing is shuffled, so a few batches ahead are enough."""
_EVAL_OPEN_PARTS = 2
"""Parts that it keeps open: it reads one after the other, and the footer of one takes some MiB."""


class TrainReader:
    """This rank's batches of B / R rows, from global step `start_step` on; iterating again starts there again.

    The rows of a global step are the same for every number of ranks, and the step number is the whole state: a reader made with
    start_step=k goes on exactly where one stopped after k steps. Up to `prefetch` windows, of `window_rows` rows over all ranks,
    are decoded ahead. `verify_pages` compares the checksum of all that is read; without it reading is about a quarter faster.

    Memory does not grow with the split: one row group per lane, and the windows. ConfigError: R does not divide the lanes, or the
    split holds less than one global batch. DataError: see StoredSplit and RowPool.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        split: str = "train",
        global_batch_size: int,
        seed: int,
        rank: int,
        num_ranks: int,
        num_epochs: int,
        start_step: int = 0,
        window_rows: int = DEFAULT_WINDOW_ROWS,
        prefetch: int = WINDOWS_AHEAD,
        verify_pages: bool = True,
    ) -> None:
        self._batch_size = train_batch_size(global_batch_size, rank, num_ranks)
        self._stored = StoredSplit(directory, split)
        check_one_step(self._stored.num_rows, global_batch_size, f"Split {split!r} of {directory}")
        self._order = SampleOrder(
            num_rows=self._stored.num_rows, global_batch_size=global_batch_size, seed=seed, window_rows=window_rows
        )
        lanes_per_rank = self._order.num_lanes // num_ranks
        self._lanes = range(rank * lanes_per_rank, (rank + 1) * lanes_per_rank)
        self._layout = OneHotLayout(self.schema.sparse_names, self._batch_size)
        self._num_epochs, self._start_step, self._prefetch = num_epochs, start_step, prefetch
        self._verify_pages = verify_pages

    @property
    def schema(self) -> Schema:
        return self._stored.schema

    @property
    def steps_per_epoch(self) -> int:
        """Global steps in one pass over the split."""
        return self._order.steps_per_epoch

    @property
    def num_steps(self) -> int:
        """Global steps in all epochs, those before `start_step` included."""
        return self._num_epochs * self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        return _batches(self._windows(), self._prefetch, first=self._order.locate(self._start_step).step_in_window)

    def _windows(self) -> Iterator["Window"]:
        first_epoch, first_window, _ = self._order.locate(self._start_step)
        with closing(RowPool(self._stored, verify_pages=self._verify_pages)) as pool:
            for epoch in range(first_epoch, self._num_epochs):
                # Every lane jumps to another row group: without waiting, two epochs' worth of them would be held.
                pool.wait_for_release()
                for window in range(first_window, self._order.num_windows):
                    yield self._window(pool, epoch, window)
                first_window = 0

    def _window(self, pool: RowPool, epoch: int, window: int) -> "Window":
        start, size = self._order.window_span(window)
        pieces = self._lane_pieces(epoch, start, size)
        pool.load(pieces)
        addresses = pool.addresses(pieces).reshape(len(self._lanes), size)
        # The row group in which a lane goes on is decoded once for all of the windows that it covers.
        is_last = window == self._order.num_windows - 1
        finished = pool.retire_all_but([] if is_last else self._lane_pieces(epoch, start + size, 1))
        return Window(pool, partial(self._shuffled, addresses, epoch, window), finished, self._layout)

    def _shuffled(self, addresses: np.ndarray, epoch: int, window: int) -> np.ndarray:
        """Addresses of the window's steps, [steps, B / R], from those of its rows in row order, [lanes, rows]."""
        places = self._order.shuffle(epoch, window, self._lanes)
        return addresses[np.arange(len(self._lanes))[:, None], places].reshape(-1, self._batch_size)

    def _lane_pieces(self, epoch: int, start: int, num_rows: int) -> list[Piece]:
        starts = (self._order.lane_starts(epoch)[self._lanes.start : self._lanes.stop] + start).tolist()
        return [piece for lane_start in starts for piece in self._stored.pieces(lane_start, num_rows)]


class EvalReader:
    """This rank's rows of a split, each once, in row order, as batches of exactly B / R rows.

    Rank r gets the rows from about r * N / R on (data/reading/shares.py). Every rank takes the same number of steps, at least
    one; what is lacking is filled up with rows of label 0, ids 0 and row id PADDING_ROW_ID. A split of no rows gives one step of
    padding.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        split: str,
        global_batch_size: int,
        rank: int,
        num_ranks: int,
        prefetch: int = WINDOWS_AHEAD,
    ) -> None:
        self._batch_size = even_batch_size(global_batch_size, rank, num_ranks)
        self._stored = StoredSplit(directory, split)
        self._rows, self.num_steps = eval_share(self._stored.num_rows, self._batch_size, rank, num_ranks)
        self._layout = OneHotLayout(self.schema.sparse_names, self._batch_size)
        self._prefetch = prefetch

    @property
    def schema(self) -> Schema:
        return self._stored.schema

    def __iter__(self) -> Iterator[Batch]:
        return _batches(self._windows(), self._prefetch, first=0)

    def _windows(self) -> Iterator["Window"]:
        steps_per_window = max(1, EVAL_WINDOW_ROWS // self._batch_size)
        with closing(RowPool(self._stored, max_open_parts=_EVAL_OPEN_PARTS)) as pool:
            for first_step in range(0, self.num_steps, steps_per_window):
                yield self._window(pool, first_step, min(steps_per_window, self.num_steps - first_step))

    def _window(self, pool: RowPool, first_step: int, num_steps: int) -> "Window":
        start = self._rows.start + first_step * self._batch_size
        pieces = self._stored.pieces(start, max(0, min(num_steps * self._batch_size, self._rows.stop - start)))
        pool.load(pieces)
        addresses = np.full((num_steps, self._batch_size), PADDING_ADDRESS)
        found = pool.addresses(pieces)
        addresses.reshape(-1)[: len(found)] = found
        return Window(pool, lambda: addresses, pool.retire_all_but(pieces[-1:]), self._layout)


@dataclass(frozen=True)
class Window:
    """Some steps' rows, decoded: where they are, [steps, rows], and the slots that no later window needs."""

    pool: RowPool
    addresses: Callable[[], np.ndarray]
    finished_slots: list[int]
    layout: OneHotLayout

    def block(self, first: int) -> Block:
        """The rows, gathered from step number `first` on."""
        try:
            return self.pool.gather(self.addresses()[first:], self.layout)
        finally:
            self.discard()

    def discard(self) -> None:
        """Say that the rows are no longer needed."""
        self.pool.release(self.finished_slots)


def _batches(windows: Iterator[Window], prefetch: int, first: int) -> Iterator[Batch]:
    """The windows' batches, from number `first` of the first one on. One thread decodes, another gathers, a third trains."""
    decoded = Prefetched(windows, prefetch, Window.discard)
    return batches_of(Prefetched(_gathered(decoded, first), 1))


def _gathered(windows: Prefetched[Window], first: int) -> Iterator[Block]:
    try:
        for window in windows:
            yield window.block(first)
            first = 0
    finally:
        windows.close()


def read_columns(directory: str | Path, split: str, columns: Sequence[str]) -> pa.Table:
    """Whole columns of a split, in row order; a column that no part has is left out. Meant for a few columns: all in memory."""
    tables = list(columns_by_part(directory, split, columns))
    return pa.concat_tables(tables) if tables else pa.table({})


def columns_by_part(directory: str | Path, split: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of a split part by part, in row order; a column that no part has is left out."""
    stored = StoredSplit(directory, split)
    for part, path in enumerate(stored.paths):
        with stored.open_part(part) as file:
            present = [name for name in columns if name in file.schema_arrow.names]
            try:
                yield file.read(columns=present)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{path} cannot be read: {error}. {PREPARE_AGAIN}") from error
