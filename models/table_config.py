"""How embedding tables are made smaller, pooled, stored and started, as settings. No torch here: the command line reads this."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class QuotientRemainderConfig:
    """Two small tables in place of a large one (Shi et al. 2020, arXiv 1909.02107): rows id // collisions and id % collisions."""

    operation: Literal["off", "add", "mult", "concat"] = "off"
    """How the two rows become one vector: sum, product, or side by side (then each table is half as wide)."""
    collisions: int = 4
    """Ids that share a row of the quotient table, which has that many times fewer rows; the remainder table has this many."""
    threshold: int = 200
    """Tables of up to this many rows stay whole."""

    def __post_init__(self) -> None:
        if self.collisions < 2:
            raise ConfigError(
                f"model.tables.quotient_remainder.collisions is {self.collisions}; it must be at least 2."
            )
        _check_threshold("model.tables.quotient_remainder.threshold", self.threshold)


@dataclass(frozen=True, kw_only=True)
class MixedDimensionsConfig:
    """Narrower tables for rarer ids (Ginart et al. 2019, arXiv 1909.11810), projected to the embedding dimension."""

    temperature: float = 0.0
    """A table of n rows gets D (m / n) ** temperature columns, m the rows of the smallest table; 0: all get D."""
    power_of_two: bool = True
    """Round columns to a power of two rather than to a multiple of 4."""
    threshold: int = 200
    """Tables of up to this many rows keep D columns."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 1.0:
            raise ConfigError(
                f"model.tables.mixed_dimensions.temperature is {self.temperature}; expected 0 (off) to 1."
            )
        _check_threshold("model.tables.mixed_dimensions.threshold", self.threshold)


@dataclass(frozen=True, kw_only=True)
class TableOverride:
    """What one table, or the tables of one pattern, do differently; what is left out is as for all."""

    quotient_remainder: bool | None = None
    """Whether it is split, whatever the threshold says; `operation` must be set."""
    width: int | None = None
    """Its columns, whatever the mixed dimensions say; projected to the embedding dimension where they are fewer."""
    pooling: Literal["sum", "mean", "position"] | None = None
    """How the vectors of a bag become one; `position`: their sum with a learned weight per position in the bag."""
    positions: int | None = None
    """Positions with a weight of their own (`position` only); later ids share the last one's. None: the data's `max_length`."""
    dtype: Literal["fp32", "fp16"] | None = None
    """How its weights are stored."""
    pretrained: str | None = None
    """A .npy or Parquet file of its first weights, one row per table row."""
    frozen: bool | None = None
    """Whether it keeps its first weights."""

    def __post_init__(self) -> None:
        if self.width is not None and (self.width < 4 or self.width % 4):
            raise ConfigError(
                f"model.tables.override.<table>.width is {self.width}; FBGEMM's kernels take widths in fours."
            )
        if self.positions is not None and self.positions < 2:
            raise ConfigError(
                f"model.tables.override.<table>.positions is {self.positions}; expected 2 or more, or none for the data's "
                "max_length."
            )


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """The embedding tables: made smaller, pooled, stored and started. docs/tables.md shows what memory buys in AUC."""

    quotient_remainder: QuotientRemainderConfig = field(default_factory=QuotientRemainderConfig)
    """Two small tables in place of a large one."""
    mixed_dimensions: MixedDimensionsConfig = field(default_factory=MixedDimensionsConfig)
    """Narrower tables for rarer ids."""
    pooling: Literal["sum", "mean"] = "sum"
    """How the vectors of a bag become one; `mean` divides by the number of ids, and leaves an empty bag at 0."""
    dtype: Literal["fp32", "fp16"] = "fp32"
    """How embedding weights are stored; sums and optimizer states are float32 in any case."""
    override: dict[str, TableOverride] = field(default_factory=dict)
    """Other settings by table name or pattern (`C*`); later entries win over earlier ones."""

    def of(self, table: str) -> TableOverride:
        """All that the settings say of one table beyond the tricks' thresholds, pooling and dtype resolved."""
        found: dict = {"pooling": self.pooling, "dtype": self.dtype}
        for pattern, override in self.override.items():
            if fnmatchcase(table, pattern):
                found |= {name: value for name, value in vars(override).items() if value is not None}
        return TableOverride(**found)

    def check_tables(self, tables: list[str]) -> None:
        """Raise ConfigError for a pattern that no table matches."""
        for pattern in self.override:
            if not any(fnmatchcase(table, pattern) for table in tables):
                raise ConfigError(
                    f"model.tables.override.{pattern} matches no table. The tables are {', '.join(tables)}."
                )


def _check_threshold(key: str, threshold: int) -> None:
    if threshold < 0:
        raise ConfigError(f"{key} is {threshold}; it must be 0 or more.")
