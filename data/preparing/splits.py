"""Which split a row belongs to: a function of the settings and the row alone, so any block can be split by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from data.config import SplitConfig
from data.counter import counters, derive_key, mix
from data.errors import DataError
from data.manifest import SPLITS

TRAIN, VAL, TEST = range(len(SPLITS))
LEFT_OUT = len(SPLITS)
_ROW, _VAL, _SAMPLE = 0, 1, 2


class SplitBlock(Protocol):
    """A block of a raw file; `num_before`: rows of the file before it."""

    @property
    def file_index(self) -> int: ...

    @property
    def num_before(self) -> int: ...


class SplitRows(Protocol):
    """The good rows of a block: their ids and their places in it, int64, and their labels."""

    @property
    def row_ids(self) -> np.ndarray: ...

    @property
    def places(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Splitter:
    """Assigns rows to splits. `num_val_lines`: lines of the last day that are for validation (by day only).

    `negative_sampling_rate`: fraction of the train negatives that are kept. Val and test are never sampled: they are what is.
    """

    config: SplitConfig
    num_files: int
    num_val_lines: int
    negative_sampling_rate: float = 1.0

    @classmethod
    def of(
        cls,
        config: SplitConfig,
        files: list[Path],
        count_rows: Callable[[Path], int],
        negative_sampling_rate: float = 1.0,
    ) -> "Splitter":
        """The splitter for these raw files; by day it counts the rows of the last one. DataError where it is the only one."""
        if config.by != "day":
            return cls(config, len(files), 0, negative_sampling_rate)
        if len(files) < 2:
            raise DataError(
                f"split.by=day needs a folder of two days or more (the last is for val and test); found only {files[0]}."
                " Add days, or choose split.by=fraction."
            )
        return cls(config, len(files), -(-count_rows(files[-1]) // 2), negative_sampling_rate)

    def assign(self, block: SplitBlock, rows: SplitRows) -> np.ndarray:
        """What becomes of each row of the block, uint8 [n]: TRAIN, VAL, TEST or LEFT_OUT."""
        splits = self._split(block, rows)
        if self.negative_sampling_rate < 1:
            is_kept = self._uniforms(rows.row_ids, _SAMPLE) < self.negative_sampling_rate
            splits[(splits == TRAIN) & (rows.labels == 0) & ~is_kept] = LEFT_OUT
        return splits

    def _split(self, block: SplitBlock, rows: SplitRows) -> np.ndarray:
        row_ids = rows.row_ids
        if self.config.by == "day":
            return self._by_day(block, rows.places)
        if self.config.by == "fold":
            return self._by_fold(row_ids)
        uniforms = self._uniforms(row_ids, _ROW)
        bounds = [self.config.test_fraction, self.config.test_fraction + self.config.val_fraction]
        return np.array([TEST, VAL, TRAIN], dtype=np.uint8)[np.searchsorted(bounds, uniforms, side="right")]

    def _by_fold(self, row_ids: np.ndarray) -> np.ndarray:
        folds = (self._uniforms(row_ids, _ROW) * self.config.num_folds).astype(np.int64)
        is_val = self._uniforms(row_ids, _VAL) < self.config.val_fraction
        return np.where(folds == self.config.fold, TEST, np.where(is_val, VAL, TRAIN)).astype(np.uint8)

    def _by_day(self, block: SplitBlock, places: np.ndarray) -> np.ndarray:
        if block.file_index < self.num_files - 1:
            return np.full(len(places), TRAIN, dtype=np.uint8)
        lines_before = block.num_before + places
        return np.where(lines_before < self.num_val_lines, VAL, TEST).astype(np.uint8)

    def _uniforms(self, row_ids: np.ndarray, purpose: int) -> np.ndarray:
        """float64 [n] in [0, 1), from (seed, row id) alone."""
        bits = mix(counters(row_ids) + np.uint64(derive_key(self.config.seed, purpose)))
        return (bits >> np.uint64(11)) * 2.0**-53
