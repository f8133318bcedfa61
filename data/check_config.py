"""Settings of looking at prepared datasets: verify, drift. Light: imports nothing heavy."""

from dataclasses import dataclass

from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Compare every part of a prepared dataset with its manifest: exit code 0 when it is whole, 1 when it is not."""

    directory: str
    """Prepared directory."""
    show_progress: bool = True
    """Draw a progress bar on stderr."""


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """How far the rows of B have moved from those of A, feature by feature."""

    a: str
    """Prepared directory that the comparison starts from, such as yesterday's."""
    b: str
    """Prepared directory that is held against it; it may be the same one, with another split."""
    split_a: str = "train"
    """Split of A."""
    split_b: str = "train"
    """Split of B."""
    day_a: int | None = None
    """Raw file of A to look at, counted from 0, such as a day of a log; none: all of them."""
    day_b: int | None = None
    """Raw file of B to look at, counted from 0; none: all of them."""
    max_rows: int = 1_000_000
    """Rows of each that are looked at, row groups evenly spread over the split."""
    num_buckets: int = 10
    """Buckets of a dense feature, of equally many rows of A each; the sparse ones have a bucket for each of the top ids of A."""
    top_ids: int = 100
    """Most frequent ids of a sparse feature that have a bucket each; ten more are for ids met less, one for rare and new ones."""
    warn_at: float = 0.1
    """Population stability index from which on a feature counts as moved."""
    alarm_at: float = 0.25
    """Population stability index from which on it counts as moved far."""
    fail_on_alarm: bool = False
    """Exit code 1 where any feature moved far: a gate for pipelines."""
    out: str | None = None
    """Directory for report.html, .md and .json; none: only the table on stdout."""

    def __post_init__(self) -> None:
        for name, least in (("max_rows", 1), ("num_buckets", 2), ("top_ids", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"drift.{name} is {getattr(self, name)}; expected at least {least}.")
        if not 0 < self.warn_at <= self.alarm_at:
            raise ConfigError(
                f"drift.warn_at is {self.warn_at} and alarm_at {self.alarm_at}; expected 0 < warn_at <= alarm_at."
            )
