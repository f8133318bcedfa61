"""Settings of learning access patterns and of generating traces from them. Light: imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Traces of ids generated from learned access patterns."""

    patterns: str | None = None
    """Directory (or one file) of access patterns, as learn-trace writes them: a table for each."""
    method: Literal["growth", "paper"] = "growth"
    """growth: hit rates and new ids as in the source; paper: as the DLRM paper draws them, coarser for small tables."""
    padding: bool = False
    """Make new ids as much likelier as each is accessed on average, until all are seen (method=paper only)."""

    def __post_init__(self) -> None:
        if self.padding and self.method != "paper":
            raise ConfigError(
                "trace.padding is for trace.method=paper: the growth method needs none. Drop one of them."
            )


@dataclass(frozen=True, kw_only=True)
class LearnTraceConfig:
    """Learn how the ids of features are accessed; keep that without the ids."""

    source: str = "artifacts/data/demo"
    """Prepared directory, Parquet file, Criteo-format text, or a folder of its days."""
    features: tuple[str, ...] = ()
    """Columns to learn from; none: every sparse feature (of a Parquet file they must be named)."""
    split: str = "train"
    """Split to learn from (prepared directories only)."""
    output: str = "artifacts/traces/demo"
    """Directory that gets `<feature>.pattern.json` for each, and the report."""
    max_rows: int = 4_000_000
    """Rows to learn from, from the first on; a million take some seconds and 150 MiB a feature."""
    report: bool = True
    """Write report.html, .md and .json: a trace generated from each pattern beside its source."""
    seed: int = 0
    """Seed of the traces that the report compares."""

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise ConfigError(f"max_rows is {self.max_rows}; expected at least 1.")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected at least 0.")
        if len(set(self.features)) < len(self.features):
            raise ConfigError(f"features names a column twice: {', '.join(self.features)}.")
