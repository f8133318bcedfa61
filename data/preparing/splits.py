"""Which split a row belongs to: a function of the settings and the row alone, so any block can be split by itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.config import SplitConfig
from data.counter import counters, derive_key, mix
from data.errors import DataError
from data.manifest import SPLITS
from data.raw.raw_blocks import TextBlock, count_lines

TRAIN, VAL, TEST = range(len(SPLITS))
_ROW, _VAL = 0, 1


@dataclass(frozen=True)
class Splitter:
    """Assigns rows to splits. `num_val_lines`: lines of the last day that are for validation (by day only)."""

    config: SplitConfig
    num_files: int
    num_val_lines: int

    @classmethod
    def of(cls, config: SplitConfig, files: list[Path]) -> "Splitter":
        """The splitter for these raw files; by day it counts the lines of the last one. DataError where it is the only one."""
        if config.by != "day":
            return cls(config, len(files), 0)
        if len(files) < 2:
            raise DataError(
                f"split.by=day needs a folder of two days or more (the last is for val and test); found only {files[0]}."
                " Add days, or choose split.by=fraction."
            )
        return cls(config, len(files), -(-count_lines(files[-1]) // 2))

    def assign(self, block: TextBlock, row_ids: np.ndarray) -> np.ndarray:
        """The split of each row of the block, uint8 [n]: TRAIN, VAL or TEST."""
        if self.config.by == "day":
            return self._by_day(block, row_ids)
        if self.config.by == "fold":
            return self._by_fold(row_ids)
        uniforms = self._uniforms(row_ids, _ROW)
        bounds = [self.config.test_fraction, self.config.test_fraction + self.config.val_fraction]
        return np.array([TEST, VAL, TRAIN], dtype=np.uint8)[np.searchsorted(bounds, uniforms, side="right")]

    def _by_fold(self, row_ids: np.ndarray) -> np.ndarray:
        folds = (self._uniforms(row_ids, _ROW) * self.config.num_folds).astype(np.int64)
        is_val = self._uniforms(row_ids, _VAL) < self.config.val_fraction
        return np.where(folds == self.config.fold, TEST, np.where(is_val, VAL, TRAIN)).astype(np.uint8)

    def _by_day(self, block: TextBlock, row_ids: np.ndarray) -> np.ndarray:
        if block.file_index < self.num_files - 1:
            return np.full(len(row_ids), TRAIN, dtype=np.uint8)
        lines_before = row_ids - block.first_row_id + block.first_line - 1
        return np.where(lines_before < self.num_val_lines, VAL, TEST).astype(np.uint8)

    def _uniforms(self, row_ids: np.ndarray, purpose: int) -> np.ndarray:
        """float64 [n] in [0, 1), from (seed, row id) alone."""
        bits = mix(counters(row_ids) + np.uint64(derive_key(self.config.seed, purpose)))
        return (bits >> np.uint64(11)) * 2.0**-53
