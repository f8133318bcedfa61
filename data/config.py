"""Settings of the jobs that make data: generating, preparing, and the random source. Light: imports nothing heavy."""

import math
from dataclasses import dataclass, field
from typing import Literal

from data.criteo import KAGGLE_CARDINALITIES, KAGGLE_CLICK_RATE, NUM_DENSE, NUM_SPARSE, TERABYTE_CLICK_RATE
from data.errors import ConfigError
from data.trace_config import TraceConfig

CLICK_RATES = {"kaggle": KAGGLE_CLICK_RATE, "terabyte": TERABYTE_CLICK_RATE}


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Criteo-format rows with a planted click model: what they look like and where they go."""

    kind: Literal["criteo-like", "lists", "trace"] = "criteo-like"
    """criteo-like: text with a planted click model; lists: a CSV with multi-valued and weighted features and such a model;
    trace: ids alone, from learned access patterns, as Parquet."""
    output: str = "artifacts/data/demo.tsv.gz"
    """File to write (.tsv or .tsv.gz; lists: .csv or .csv.gz; a trace: .parquet), or, with num_days above 1, a folder of
    day_0, day_1, ... files."""
    num_rows: int = 600_000
    """Rows in all, over all days."""
    num_days: int = 1
    """1 writes one file; more write that many day files of (nearly) equal size into a folder."""
    preset: Literal["kaggle", "terabyte"] = "kaggle"
    """Base rate of clicks: kaggle 25.6 %, terabyte 3.4 %."""
    base_rate: float | None = None
    """Fraction of clicks, in (0, 1); takes the place of the preset's."""
    seed: int = 0
    """The same seed and settings give the same bytes."""
    cardinality_scale: float = 0.01
    """Size of the id spaces, as a fraction of the Kaggle log's (1.0: up to ten million ids a feature)."""
    zipf_exponent: float = 1.1
    """Skew of the ids: the r-th most frequent id of a feature is drawn in proportion to r ** -exponent."""
    signal: float = 1.0
    """Strength of the planted effects; 0 makes clicks independent of the features."""
    daily_drift: int = 0
    """Ranks by which popularity moves on to other ids each day, in features of 1,000 ids or more; 0: days are alike."""
    trap: Literal["none", "leak", "constant", "shuffled"] = "none"
    """A fault to find: leak puts the label into I13, constant makes all integers 1, shuffled deals the labels out anew."""
    trace: TraceConfig = field(default_factory=TraceConfig)
    """The access patterns to generate from, and how (kind=trace only)."""

    def __post_init__(self) -> None:
        _require_at_least("generate.num_rows", self.num_rows, 1)
        _require_at_least("generate.num_days", self.num_days, 1)
        _require_at_least("generate.seed", self.seed, 0)
        _require_at_least("generate.daily_drift", self.daily_drift, 0)
        if self.kind == "lists" and self.num_days == 1 and not self.output.endswith((".csv", ".csv.gz")):
            raise ConfigError(f"generate.output is {self.output}; expected a .csv or .csv.gz for kind=lists.")
        if self.num_days > self.num_rows:
            raise ConfigError(
                f"generate.num_days is {self.num_days} and generate.num_rows {self.num_rows}: every day needs a row."
            )
        if not 0 < self.click_rate < 1:
            raise ConfigError(
                f"generate.base_rate is {self.base_rate}; expected a fraction of clicks between 0 and 1, such as 0.256."
            )
        _require_positive("generate.cardinality_scale", self.cardinality_scale)
        _require_positive("generate.zipf_exponent", self.zipf_exponent)
        if not (math.isfinite(self.signal) and self.signal >= 0):
            raise ConfigError(f"generate.signal is {self.signal}; expected 0 (no signal) or more.")

    @property
    def click_rate(self) -> float:
        return CLICK_RATES[self.preset] if self.base_rate is None else self.base_rate


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which rows are for training, which for validation, which for the test."""

    by: Literal["fraction", "fold", "day"] = "fraction"
    """fraction: each row drawn by itself; fold: fold k is the test; day: the last day's halves are val and test."""
    val_fraction: float = 0.1
    """Fraction of the rows (by fraction), or of those outside the test fold (by fold), for validation."""
    test_fraction: float = 0.1
    """Fraction of the rows for the test (by fraction only)."""
    num_folds: int = 5
    """Number of folds (by fold only)."""
    fold: int = 0
    """The fold that is the test, 0 to num_folds - 1 (by fold only)."""
    seed: int = 0
    """Seed of the draw: a row's split depends on (seed, row id) alone."""

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"split.{name} is {getattr(self, name)}; expected a fraction from 0 up to, but not including, 1."
                )
        if self.by == "fraction" and self.val_fraction + self.test_fraction >= 1:
            total = self.val_fraction + self.test_fraction
            raise ConfigError(
                f"split.val_fraction + split.test_fraction is {total:g}: no row is left to train on. Lower one."
            )
        _require_at_least("split.num_folds", self.num_folds, 2)
        if not 0 <= self.fold < self.num_folds:
            raise ConfigError(
                f"split.fold is {self.fold}; expected 0 to {self.num_folds - 1} (split.num_folds is {self.num_folds})."
            )
        _require_at_least("split.seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Raw text or Parquet in, Parquet parts and a manifest out."""

    source: str = "artifacts/data/demo.tsv.gz"
    """Raw data: a file (text plain, .gz or .zst) or a folder of files; Criteo's format unless a spec says otherwise."""
    spec: str = ""
    """Feature spec, a YAML file that says what the columns are (docs/data.md); empty: Criteo's click logs."""
    output: str = "artifacts/data/demo"
    """Directory to write; it appears only when it is complete."""
    ids: Literal["map", "hash"] = "map"
    """map: a table row for each id seen min_count times in train, row 0 for the rest; hash: id modulo table size."""
    min_count: int = 2
    """Ids seen fewer times than this in the train split share row 0 (ids=map only)."""
    table_sizes: tuple[int, ...] = ()
    """Rows of the 26 tables, or one number for all of them (ids=hash only; MLPerf's 1TB sizes when empty)."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Train, val and test."""
    dense_missing_indicator: bool = False
    """Add columns I1_missing ... I13_missing (1.0 where the integer is missing, else 0.0) behind the dense ones."""
    negative_sampling_rate: float = 1.0
    """Fraction of the train negatives to keep, each by a draw from (split.seed, row id); val and test stay as they are."""
    max_bad_fraction: float = 0.0
    """Fraction of bad lines that is still accepted (and counted in the manifest); more stop the job."""
    rows_per_part: int = 65_536
    """Rows per Parquet part."""
    row_group_rows: int = 4096
    """Rows per Parquet row group: the unit that a training reader reads."""
    block_mib: int = 4
    """Raw text handled at a time and thread, in MiB; memory grows with it."""
    count_memory_mib: int = 512
    """Memory for counts of ids, in MiB, about; what it does not hold goes to files beside the output. Same bytes."""
    num_threads: int = 2
    """Threads that parse, map and compress blocks (engine=threads), or cores of a Ray cluster started here."""
    engine: Literal["threads", "ray"] = "threads"
    """Where blocks are worked on: threads of this process, or a Ray cluster (pip install 'shardline[ray]'). Same bytes."""
    ray_address: str | None = None
    """Address of a running Ray cluster, such as auto (engine=ray only); none: one is started on this machine."""
    show_progress: bool = True
    """Draw a progress bar with rows/s on stderr."""
    checkpoint_seconds: float = 10.0
    """Seconds between notes of how far the job is, from which it goes on after a kill; 0 notes after every block."""
    force: bool = False
    """Prepare again even where the output holds the same thing already; replace a dataset made otherwise."""

    def __post_init__(self) -> None:
        for name in ("min_count", "rows_per_part", "row_group_rows", "block_mib", "count_memory_mib", "num_threads"):
            _require_at_least(f"prepare.{name}", getattr(self, name), 1)
        if self.rows_per_part % self.row_group_rows:
            raise ConfigError(
                f"prepare.rows_per_part is {self.rows_per_part}, prepare.row_group_rows {self.row_group_rows}: expected a"
                " multiple, so that every row group of a split but the last one holds the same number of rows."
            )
        if not 0 <= self.max_bad_fraction < 1:
            raise ConfigError(
                f"prepare.max_bad_fraction is {self.max_bad_fraction}; expected a fraction at least 0 and below 1."
            )
        if self.ray_address is not None and self.engine != "ray":
            raise ConfigError("prepare.ray_address is for prepare.engine=ray. Drop one of them.")
        if not 0 < self.negative_sampling_rate <= 1:
            raise ConfigError(
                f"prepare.negative_sampling_rate is {self.negative_sampling_rate}; expected above 0 and at most 1 (keep all)."
            )
        if self.checkpoint_seconds < 0:
            raise ConfigError(f"prepare.checkpoint_seconds is {self.checkpoint_seconds}; expected at least 0.")
        self._check_table_sizes()
        defaults = {"ids": "map", "min_count": 2, "table_sizes": (), "dense_missing_indicator": False}
        for name, default in defaults.items():
            if self.spec and getattr(self, name) != default:
                raise ConfigError(
                    f"prepare.{name} is for Criteo's format without a spec: say it in {self.spec} instead."
                )

    def _check_table_sizes(self) -> None:
        if self.table_sizes and self.ids != "hash":
            raise ConfigError(
                "prepare.table_sizes is for prepare.ids=hash; with map the data decides the sizes. Drop one of them."
            )
        if len(self.table_sizes) not in (0, 1, NUM_SPARSE):
            raise ConfigError(
                f"prepare.table_sizes has {len(self.table_sizes)} numbers; expected {NUM_SPARSE} (C1..C26), or 1 for all."
            )
        if any(not 2 <= size <= 2**31 - 1 for size in self.table_sizes):
            raise ConfigError(
                f"prepare.table_sizes is {self.table_sizes}; each needs 2 (row 0 and one more) to 2147483647 rows."
            )


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Random batches without any file, after the DLRM reference's. An AUC of 0.5 is the right answer."""

    num_dense: int = NUM_DENSE
    """Number of dense features."""
    table_sizes: tuple[int, ...] = tuple(min(size, 100_000) for size in KAGGLE_CARDINALITIES)
    """Rows of each table; one sparse feature per table."""
    num_lookups: tuple[int, ...] = (1,)
    """Ids per bag: one number per table, or one for all tables."""
    fixed_num_lookups: bool = True
    """True: every bag draws num_lookups ids; false: 1 to num_lookups of them. Duplicates in a bag are removed."""
    dense_distribution: Literal["uniform", "gaussian"] = "uniform"
    """uniform: in [0, 1); gaussian: mean 0, standard deviation 1."""
    ids_distribution: Literal["uniform", "gaussian", "zipf", "pareto", "trace"] = "uniform"
    """uniform: over the table's rows; gaussian: normal(ids_mu, ids_sigma) clipped to [ids_min, ids_max], as ints;
    zipf: row r in proportion to (r + 1) ** -ids_skew; pareto: of shape ids_skew, modulo the table's rows; trace: accessed as
    the learned patterns of `trace` say, a table for each of them."""
    ids_skew: float = 1.1
    """Exponent of the Zipf law (larger: fewer ids take more), or shape of the Pareto one (larger: fewer ids, too)."""
    trace: TraceConfig = field(default_factory=TraceConfig)
    """The learned access patterns (ids_distribution=trace only)."""
    trace_rows: int = 131_072
    """Rows after which every trace begins anew, so that any row can be had at once (ids_distribution=trace only)."""
    ids_min: float = 0.0
    """Smallest id (gaussian only), in table rows."""
    ids_max: float | None = None
    """Largest id (gaussian only), in table rows; none is the last row of each table."""
    ids_mu: float | None = None
    """Mean of the ids (gaussian only), in table rows; none is the middle of ids_min and ids_max."""
    ids_sigma: float = 1.0
    """Standard deviation of the ids (gaussian only), in table rows."""
    num_rows: int = 1_000_000
    """Rows per epoch."""
    round_targets: bool = True
    """True: labels are 0 or 1; false: uniform in [0, 1)."""

    def __post_init__(self) -> None:
        _require_at_least("random.num_dense", self.num_dense, 0)
        _require_at_least("random.num_rows", self.num_rows, 1)
        if not self.table_sizes or min(self.table_sizes) < 1:
            raise ConfigError(
                f"random.table_sizes is {self.table_sizes}; expected at least one table, each with at least 1 row."
            )
        if self.ids_distribution == "trace":
            is_fitting = len(self.num_lookups) >= 1  # the patterns say how many tables there are
        else:
            is_fitting = len(self.num_lookups) in (1, len(self.table_sizes))
        if not is_fitting or min(self.num_lookups) < 1:
            raise ConfigError(
                f"random.num_lookups is {self.num_lookups}; expected numbers of at least 1:"
                f" one for all tables, or {len(self.table_sizes)}, one per table."
            )
        if self.ids_min < 0 or (self.ids_max is not None and self.ids_max < self.ids_min):
            raise ConfigError(
                f"random.ids_min is {self.ids_min} and ids_max {self.ids_max}; expected 0 <= ids_min <= ids_max."
            )
        if self.ids_max is not None and self.ids_max > min(self.table_sizes) - 1:
            raise ConfigError(
                f"random.ids_max is {self.ids_max}, beyond row {min(self.table_sizes) - 1}, the smallest table's last."
            )
        _require_positive("random.ids_sigma", self.ids_sigma)
        _require_positive("random.ids_skew", self.ids_skew)
        _require_at_least("random.trace_rows", self.trace_rows, 1)
        if (self.ids_distribution == "trace") != (self.trace.patterns is not None):
            raise ConfigError(
                f"random.ids_distribution is {self.ids_distribution} and random.trace.patterns {self.trace.patterns};"
                " expected a directory of patterns (from learn-trace) with trace, and none otherwise."
            )


def _require_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} is {value}; expected at least {least}.")


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} is {value}; expected a number above 0.")
