"""Random rows straight into batches, without any file: what the DLRM paper measures speed with. Their right AUC is 0.5.

Legend: N rows of an epoch, R ranks, B rows of the global batch.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from data.batch import PADDING_ROW_ID, Batch
from data.config import RandomConfig
from data.errors import ConfigError
from data.generating.random_rows import RandomRows
from data.reading.blocks import Block, OneHotLayout, batches_of
from data.reading.prefetch import DEFAULT_PREFETCH, Prefetched
from data.reading.shares import check_one_step, eval_share, even_batch_size
from data.schema import Schema

# Enough rows that the calls into numpy do not count, few enough that the block stays in the cache.
_BLOCK_ROWS = 16_384


class RandomReader:
    """This rank's batches of B / R random rows, from global step `start_step` on; the interface of TrainReader.

    Global step k takes rows k * B up to (k + 1) * B of the N rows, rank r the r-th R-th of them, so the global batches are the
    same for every number of ranks. Every epoch has the same rows in the same order, as in the DLRM reference. ConfigError: R
    does not divide B, or N is less than B.
    """

    def __init__(
        self,
        config: RandomConfig,
        *,
        global_batch_size: int,
        seed: int,
        rank: int,
        num_ranks: int,
        num_epochs: int,
        start_step: int = 0,
        prefetch: int = DEFAULT_PREFETCH,
    ) -> None:
        self._batch_size = even_batch_size(global_batch_size, rank, num_ranks)
        check_one_step(config.num_rows, global_batch_size, "The random source (num_rows)")
        self._rows = RandomRows(config, seed)
        self._layout = OneHotLayout(self.schema.sparse_names, self._batch_size)
        self._places = rank * self._batch_size + np.arange(self._batch_size)
        self._global_batch_size, self.steps_per_epoch = global_batch_size, config.num_rows // global_batch_size
        self._num_epochs, self._start_step, self._prefetch = num_epochs, start_step, prefetch

    @property
    def schema(self) -> Schema:
        return self._rows.schema

    @property
    def num_steps(self) -> int:
        """Global steps in all epochs, those before `start_step` included."""
        return self._num_epochs * self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        return batches_of(Prefetched(self._blocks(), self._prefetch))

    def _blocks(self) -> Iterator[Block]:
        for first, stop in _spans(self._start_step, self.num_steps, self._batch_size):
            steps_in_epoch = np.arange(first, stop) % self.steps_per_epoch
            yield self._rows.block(steps_in_epoch[:, None] * self._global_batch_size + self._places, self._layout)


class RandomEvalReader:
    """This rank's random rows for evaluation, each once; the interface of EvalReader, with the same padding.

    The rows are numbered on from the train rows: `num_rows` of them (a tenth of an epoch unless given) are val, as many are test.
    """

    def __init__(
        self,
        config: RandomConfig,
        *,
        split: Literal["val", "test"],
        global_batch_size: int,
        seed: int,
        rank: int,
        num_ranks: int,
        num_rows: int | None = None,
        prefetch: int = DEFAULT_PREFETCH,
    ) -> None:
        if split not in ("val", "test"):
            raise ConfigError(f"The random source has no split {split!r} to evaluate on; it has val and test.")
        self._batch_size = even_batch_size(global_batch_size, rank, num_ranks)
        num_rows = max(1, config.num_rows // 10) if num_rows is None else num_rows
        share, self.num_steps = eval_share(num_rows, self._batch_size, rank, num_ranks)
        start = config.num_rows + (num_rows if split == "test" else 0)
        self._row_ids = range(start + share.start, start + share.stop)
        self._rows = RandomRows(config, seed)
        self._layout = OneHotLayout(self.schema.sparse_names, self._batch_size)
        self._prefetch = prefetch

    @property
    def schema(self) -> Schema:
        return self._rows.schema

    def __iter__(self) -> Iterator[Batch]:
        return batches_of(Prefetched(self._blocks(), self._prefetch))

    def _blocks(self) -> Iterator[Block]:
        for first, stop in _spans(0, self.num_steps, self._batch_size):
            row_ids = self._row_ids.start + np.arange(first * self._batch_size, stop * self._batch_size)
            row_ids[row_ids >= self._row_ids.stop] = PADDING_ROW_ID
            yield self._rows.block(row_ids.reshape(-1, self._batch_size), self._layout)


def _spans(start: int, stop: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """The steps from `start` to `stop`, cut into blocks of about _BLOCK_ROWS rows."""
    steps_per_block = max(1, _BLOCK_ROWS // batch_size)
    for first in range(start, stop, steps_per_block):
        yield first, min(first + steps_per_block, stop)
