"""Settings of exporting and of scoring with what was exported. Light: imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Literal

from data.errors import ConfigError

Format = Literal["exported", "torchscript", "aoti"]
Runtime = Literal["eager", "exported", "torchscript", "aoti"]
TableType = Literal["fp32", "fp16", "int8", "int4"]
TABLE_TYPES: tuple[TableType, ...] = ("fp32", "fp16", "int8", "int4")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a bundle: model, feature transforms and id maps in one directory, from which raw rows become probabilities."""

    model: str
    """A run's directory (its last checkpoint is taken), a checkpoint, or a bundle to be exported anew."""
    output: str
    """Directory of the bundle; it appears only when it is complete and its self-check has passed."""
    formats: tuple[Format, ...] = ("exported", "torchscript", "aoti")
    """Programs to put in beside the weights: torch.export, TorchScript, AOTInductor (compiled C++; a minute)."""
    data_path: str | None = None
    """The prepared directory whose transforms are taken, and whose rows check it; none: the one that the run was trained on."""
    check_rows: int = 1000
    """Rows that the self-check scores by the checkpoint and by the bundle."""
    force: bool = False
    """Replace a bundle that is there already."""

    def __post_init__(self) -> None:
        if self.check_rows < 1:
            raise ConfigError(f"check_rows is {self.check_rows}; the self-check needs at least 1 row.")
        if len(set(self.formats)) < len(self.formats):
            raise ConfigError(f"formats is {list(self.formats)}; name every format once.")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Score the rows of raw files or of a prepared split: Parquet with row ids, in bounded memory, resumable."""

    model: str
    """A bundle, a run's directory, or a checkpoint."""
    source: str
    """Raw file, or folder of them, in the format of the data that the model was trained on; or that prepared directory itself."""
    output: str
    """Directory of part-00000.parquet ... (row_id, label where there is one, score); it appears only when it is complete."""
    split: Literal["train", "val", "test"] = "test"
    """The split to score (prepared directories only)."""
    has_labels: bool = True
    """Whether the raw files have the column of the label; false: all the other columns, in the same order."""
    runtime: Runtime = "eager"
    """What computes: the model itself, or a program of the bundle."""
    processes: int = 1
    """Processes that parse, transform and score."""
    threads_per_process: int = 1
    """CPU threads of each of them."""
    block_mib: int = 8
    """Raw text that makes one part, in MiB: memory grows with it and with the processes."""
    block_rows: int = 65_536
    """Prepared rows that make one part."""
    batch_rows: int = 8192
    """Rows that the model takes at a time."""
    max_bad_fraction: float = 0.0
    """Fraction of bad lines that is still accepted; they have no score and are counted in _predictions.json."""

    def __post_init__(self) -> None:
        for name in ("processes", "threads_per_process", "block_mib", "block_rows", "batch_rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 <= self.max_bad_fraction < 1:
            raise ConfigError(f"max_bad_fraction is {self.max_bad_fraction}; expected a fraction from 0 to below 1.")


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Write a bundle whose tables, and dense layers if asked for, take fewer bits; from any checkpoint, whatever its plan."""

    model: str
    """A run's directory (its last checkpoint is taken), a checkpoint, or a bundle that is not quantized yet."""
    output: str
    """Directory of the bundle; it appears only when it is complete."""
    tables: Literal["fp32", "fp16", "int8", "int4", "search"] = "int8"
    """Type of all tables; `search`: the smallest choice by table whose AUC loss is below max_auc_loss."""
    table_types: dict[str, TableType] = field(default_factory=dict)
    """Other types by table name or pattern (`C*`); later entries win over earlier ones, and over the search."""
    dense: Literal["fp32", "bf16", "int8"] = "fp32"
    """Dense layers: bf16, or linear layers in dynamic int8 (activations are measured batch by batch)."""
    max_auc_loss: float = 0.001
    """AUC that may be lost, as a share of the AUC, with the 95 % interval of the loss below it (search only)."""
    search_split: Literal["train", "val", "test"] = "val"
    """Rows to search on; not those that the result is to be judged by."""
    search_rows: int = 200_000
    """Most of these rows that are used."""
    data_path: str | None = None
    """The prepared directory that the model was trained on; needed for a bundle, a run knows its own."""
    formats: tuple[Format, ...] = ()
    """Programs to put in beside the weights, as far as they can hold quantized tables."""
    check_rows: int = 1000
    """Rows that the self-check scores."""
    force: bool = False
    """Replace a bundle that is there already."""

    def __post_init__(self) -> None:
        for name in ("search_rows", "check_rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.max_auc_loss < 1:
            raise ConfigError(
                f"max_auc_loss is {self.max_auc_loss}; expected a share above 0 and below 1, such as 0.001."
            )
        for table, kind in self.table_types.items():
            if kind not in TABLE_TYPES:
                raise ConfigError(f"table_types.{table} is {kind!r}; expected {', '.join(TABLE_TYPES)}.")


@dataclass(frozen=True, kw_only=True)
class CompareQuantizedConfig:
    """What fewer bits cost: size, AUC against the first model on the same rows, log loss, calibration, latency, rows/s."""

    models: tuple[str, ...]
    """The model to compare with, then the others: bundles, runs or checkpoints, all of the same data."""
    data_path: str | None = None
    """The prepared directory that they were trained on; needed where the first is a bundle."""
    split: Literal["train", "val", "test"] = "test"
    """Rows to judge on."""
    out: str = "artifacts/quantized"
    """Directory for the report (report.html, .md, .json)."""
    batch_sizes: tuple[int, ...] = (1, 64, 2048)
    """Rows per call in the measurement of latency."""
    rounds: int = 5
    """Measurements of each model and batch size, in turn; the report gives their median and spread."""
    seconds_per_round: float = 0.5
    """How long one of them lasts."""
    threads: int = 1
    """CPU threads that compute."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise ConfigError(f"found {len(self.models)} model to compare; give at least two: compare-quantized A B")
        for name in ("rounds", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ConfigError(f"batch_sizes is {list(self.batch_sizes)}; expected numbers of at least 1.")
        if not self.seconds_per_round > 0:
            raise ConfigError(f"seconds_per_round is {self.seconds_per_round}; it must be above 0.")
