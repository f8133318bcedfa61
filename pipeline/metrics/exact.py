"""Exact metrics of any number of scores in bounded memory, on one rank or many, with the same bits on any number of them."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import DataError
from pipeline.evaluate_config import LEAST_MEMORY_MIB
from pipeline.metrics.bad_rows import BadRows, check_rows
from pipeline.metrics.blocks import block_edges
from pipeline.metrics.distinct import distinct_scores
from pipeline.metrics.evaluation import Evaluation
from pipeline.metrics.exchange import Alone, Exchange
from pipeline.metrics.figures import Above, Figures, block_figures, merge_figures
from pipeline.metrics.rows import KEY_DTYPES, Rows, pack
from pipeline.metrics.store import RowStore

CHUNK_ROWS = 1 << 20
WORKING_BYTES = 96 << 20  # what reading blocks takes beside the buffers


class ExactScores:
    """Takes batches of (scores, labels, row ids, weights) and gives an Evaluation that is exact to the last pair.

    Every rank adds its own rows; `evaluate` is called by all ranks and gives all of them the same numbers, bit for bit the
    same at any number of ranks: pairs are counted in integers, and sums of floating-point numbers run in the order of
    (score, label, weight) whatever rank a row came from. `memory_mib` bounds the memory of this rank: beyond it rows go to a
    temporary directory under `spill_dir`. (One single score that more weighted rows share than fit is the exception.)
    """

    def __init__(
        self,
        *,
        score_dtype: type = np.float32,
        weighted: bool = False,
        with_row_ids: bool = False,
        memory_mib: int = 512,
        spill_dir: Path | None = None,
        exchange: Exchange | None = None,
        source: str = "the set of scores",
    ) -> None:
        if memory_mib < LEAST_MEMORY_MIB:
            raise DataError(f"memory_mib is {memory_mib}: exact metrics need at least {LEAST_MEMORY_MIB} MiB")
        self._exchange = exchange or Alone()
        self._source = source
        self._score_dtype = np.dtype(score_dtype)
        self._bad = BadRows()
        self._num_rows = 0
        buffers = (memory_mib << 20) - WORKING_BYTES
        share = (buffers // 3, buffers - buffers // 3) if with_row_ids else (buffers, 0)
        self._rows = RowStore(
            KEY_DTYPES[self._score_dtype], weighted=weighted, memory_bytes=share[0], spill_dir=spill_dir
        )
        self._ids = None
        if with_row_ids:
            ids_dtype = np.dtype(np.uint64)
            self._ids = RowStore(ids_dtype, weighted=False, memory_bytes=share[1], spill_dir=spill_dir)

    def add(
        self, scores: ArrayLike, labels: ArrayLike, row_ids: ArrayLike | None = None, weights: ArrayLike | None = None
    ) -> None:
        """Takes probabilities [N], labels 0/1 [N], int64 row ids [N] (-1 marks padding, which is dropped), weights [N].

        Arrays or CPU tensors. Mistakes are counted and refused by `evaluate`, so that all ranks fail together.
        """
        columns = [None if column is None else np.asarray(column).reshape(-1) for column in (labels, row_ids, weights)]
        p = np.asarray(scores).reshape(-1)
        assert all(column is None or len(column) == len(p) for column in columns), "columns of different lengths"
        for start in range(0, len(p), CHUNK_ROWS):
            cut = slice(start, start + CHUNK_ROWS)
            self._add_chunk(p[cut], *(None if column is None else column[cut] for column in columns))

    @property
    def num_spilled_runs(self) -> int:
        """How many times the rows of this rank outgrew the memory setting and went to disk."""
        return self._rows.num_spilled_runs

    def evaluate(self) -> Evaluation:
        """The Evaluation of all rows of all ranks. Raises DataError, on all ranks alike, for bad or no rows."""
        try:
            self._refuse_bad_rows()
            return Evaluation(_figures(self._rows, self._exchange, eps=float(np.finfo(self._score_dtype).eps)))
        finally:
            self.close()

    def close(self) -> None:
        """Removes what was spilled to disk."""
        self._rows.close()
        if self._ids is not None:
            self._ids.close()

    def _add_chunk(self, p: NDArray, labels: NDArray | None, ids: NDArray | None, weights: NDArray | None) -> None:
        assert labels is not None
        p = p.astype(self._score_dtype, copy=False)
        weights = None if weights is None or not self._rows.weighted else weights.astype(np.float64, copy=False)
        if ids is not None and (ids == -1).any():
            real = ids != -1
            p, labels, ids = p[real], labels[real], ids[real]
            weights = None if weights is None else weights[real]
        where = np.arange(self._num_rows, self._num_rows + len(p)) if ids is None else ids
        self._num_rows += len(p)
        sound = check_rows(self._bad, p, labels, weights, where)
        if self._ids is not None and ids is not None:
            self._bad.check("negative row id", ids < 0, ids, where)
            self._ids.add(ids.astype(np.uint64))
        if sound.all():
            self._rows.add(pack(p, labels.astype(bool)), weights)

    def _refuse_bad_rows(self) -> None:
        first, *others = self._exchange.gather(self._bad)
        num_rows = sum(self._exchange.gather(self._num_rows))
        bad = first.merged(others)
        if not bad.counts and self._ids is not None:
            bad.add("duplicate row id", *_duplicates(self._ids, self._exchange))
        bad.refuse(num_rows, self._source)
        if num_rows == 0:
            raise DataError(f"{self._source} cannot be evaluated: it has no rows; check the path or the split")


def _figures(store: RowStore, exchange: Exchange, eps: float) -> Figures:
    edges, cuts = _blocks(store, exchange, step=2)
    total_rows = int(exchange.total(np.array([_num_rows(store)]))[0])
    mine: list[Figures] = []
    above = Above(0, 0, 0, total_rows)
    for blocks in _rounds(len(edges) - 1, exchange):
        rows = _deal(store, exchange, cuts, blocks)
        block = distinct_scores(rows) if len(rows) else None
        sums = (block.positives.sum().item(), block.negatives.sum().item(), rows.num_rows) if block else (0, 0, 0)
        for rank, (positives, negatives, num_rows) in enumerate(exchange.gather(sums)):
            if rank == exchange.rank:
                mine.append(block_figures(block, above, eps) if block else Figures())
            above = Above(
                above.positives + positives, above.negatives + negatives, above.num_rows + num_rows, total_rows
            )
    gathered = exchange.gather(mine)
    return merge_figures([figures for in_round in zip(*gathered, strict=True) for figures in in_round])


def _duplicates(store: RowStore, exchange: Exchange) -> tuple[int, str]:
    """How many row ids were seen before, over all ranks, and the smallest of them."""
    edges, cuts = _blocks(store, exchange, step=1)
    count, smallest = 0, None
    for blocks in _rounds(len(edges) - 1, exchange):  # from the largest ids down
        rows = _deal(store, exchange, cuts, blocks)
        copies = rows.keys[1:][rows.keys[1:] == rows.keys[:-1]] if rows.counts is None else rows.keys[rows.counts > 1]
        if len(copies):
            count += rows.num_rows - len(np.unique(rows.keys))
            smallest = int(copies[0])
    found = [(n, first) for n, first in exchange.gather((count, smallest)) if first is not None]
    return (sum(n for n, _ in found), str(min(first for _, first in found))) if found else (0, "")


def _blocks(store: RowStore, exchange: Exchange, *, step: int) -> tuple[NDArray, list[NDArray]]:
    """The edges of the blocks, and where they cut each run of this rank's store."""
    ranges = [key_range for key_range in exchange.gather(store.key_range()) if key_range is not None]
    if not ranges:
        return np.zeros(1, store.key_dtype), []
    first, last = min(low for low, _ in ranges), max(high for _, high in ranges)

    def rows_below(edges: NDArray) -> NDArray:
        return exchange.total(store.rows_below(edges))

    edges = block_edges(first, last, store.key_dtype, rows_below, step=step)
    return edges, store.entries_below(edges)


def _rounds(num_blocks: int, exchange: Exchange) -> list[list[int]]:
    """Blocks from the highest keys down, one per rank and round; -1 where the last round has none left."""
    blocks = list(range(num_blocks - 1, -1, -1))
    blocks += [-1] * (-num_blocks % exchange.num_ranks)
    return [blocks[start : start + exchange.num_ranks] for start in range(0, len(blocks), exchange.num_ranks)]


def _deal(store: RowStore, exchange: Exchange, cuts: list[NDArray], blocks: list[int]) -> Rows:
    """All ranks' rows of the block that this rank owns in this round."""
    pieces = []
    for block in blocks:
        starts, stops = ([int(cut[block + side]) if block >= 0 else 0 for cut in cuts] for side in (0, 1))
        pieces.append(store.between(starts, stops))
    return exchange.deal(pieces)


def _num_rows(store: RowStore) -> int:
    key_range = store.key_range()
    if key_range is None:
        return 0
    low, high = key_range
    return int(np.diff(store.rows_below(np.array([low, high + 1], store.key_dtype)))[0])
