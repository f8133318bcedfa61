"""The seam between preparing and the formats: what the prepare job asks of a recipe, block by block.

Legend: n rows of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from data.manifest import DenseStatistics, SourceFile, SparseStatistics
from data.preparing.tallies import Tally
from data.raw.spec_rows import SpecRows
from data.schema import Schema


class RawSource(Protocol):
    """The raw files as blocks, in order; after an iteration `origin` names each file with its checksum."""

    origin: list[SourceFile]

    @property
    def has_truth(self) -> bool: ...

    def __iter__(self) -> Iterator[Any]: ...

    def count_rows(self, file: Path) -> int:
        """Rows of one of the files, bad ones counted."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What the manifest says of the columns."""

    schema: Schema
    sparse_statistics: dict[str, SparseStatistics]
    dense_statistics: dict[str, DenseStatistics]


class Fitted(Protocol):
    """A recipe that knows its id maps: turns rows into stored columns. Not changed by that, so threads can share it."""

    def stored_schema(self, has_truth: bool) -> pa.Schema: ...

    def columns(self, rows: Any, is_train: np.ndarray) -> tuple[pa.Table, Any]:
        """The rows as a part stores them, and the tally of the train rows (is_train bool [n])."""
        ...

    def outcome(self, tally: Tally) -> Outcome: ...


class Recipe(Protocol):
    """How raw blocks of a format become columns. It holds settings alone and can be pickled."""

    @property
    def counts_first(self) -> bool:
        """Whether the train rows are counted in a pass of their own before anything can be written."""
        ...

    @property
    def expected_lines(self) -> str:
        """What a sound line looks like, for the message about bad ones."""
        ...

    def files(self, source: str) -> list[Path]:
        """The raw files in order. DataError where there are none, or one cannot be used."""
        ...

    def open(self, files: list[Path], block_bytes: int) -> RawSource: ...

    def parse(self, block: Any) -> SpecRows: ...

    def count(self, rows: Any, is_train: np.ndarray) -> Any:
        """The tally of a block in the counting pass."""
        ...

    def fit(self, tally: Tally | None, directory: Path) -> Fitted:
        """Fit what the train rows decide, and write id maps into the directory. `tally` is none unless `counts_first`."""
        ...
