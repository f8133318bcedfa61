"""Settings of judging and comparing files of scores. Light: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass, field

from data.errors import ConfigError

LEAST_MEMORY_MIB = 112
"""For exact metrics: 96 for rows that are read back at a time, 16 for those that wait to be written."""


@dataclass(frozen=True, kw_only=True)
class ColumnsConfig:
    """Which column of a scores file holds what."""

    score: str = "score"
    """Predicted probability, in [0, 1]."""
    label: str = "label"
    """0 or 1."""
    row_id: str = "row_id"
    """Identity of the row; used where the file has it, and then no row may come twice."""
    weight: str = "weight"
    """Weight of the row, above 0; used where the file has it."""


@dataclass(frozen=True, kw_only=True)
class ScoresConfig:
    """How scores are judged beyond the metrics of all rows together."""

    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Names of the columns (files of scores only)."""
    slices: tuple[str, ...] = ()
    """Columns by whose values AUC is also told apart; `C3:frequency` takes how often an id is seen in place of the id."""
    group_by: str | None = None
    """Column of users or queries: the mean AUC within groups (GAUC) is told too."""
    data_path: str | None = None
    """Prepared directory whose columns are joined by row id, for slices and groups; none: only the file's own columns."""
    data_split: str = "test"
    """The split of data_path that the scores belong to."""
    max_slices: int = 20
    """Most frequent values shown by themselves; all the others make one slice."""
    memory_mib: int = 512
    """Memory for exact counting, in MiB; more rows go to a temporary directory."""
    spill_dir: str | None = None
    """Where that temporary directory is made; none: where the system keeps temporary files."""

    def __post_init__(self) -> None:
        if self.memory_mib < LEAST_MEMORY_MIB:
            raise ConfigError(f"memory_mib is {self.memory_mib}; exact metrics need at least {LEAST_MEMORY_MIB} MiB.")
        if self.max_slices < 1:
            raise ConfigError(f"max_slices is {self.max_slices}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class CompareRunsConfig:
    """Tell two or more runs apart on the same rows: paired differences of AUC and log loss, with intervals and a verdict."""

    runs: tuple[str, ...]
    """Run directories, directories of scores, or Parquet or CSV files of scores; the first is compared with each other one."""
    split: str = "test"
    """Which split's scores to take from a run's directory."""
    all_pairs: bool = False
    """Compare every run with every other one, not only with the first."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Names of the columns."""
    out: str | None = None
    """Directory for comparison.html, .md and .json; none: only the answer on stdout."""

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise ConfigError(f"found {len(self.runs)} run to compare; give at least two: compare-runs A B")
