"""Settings of the training and evaluation jobs. Light: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass, field
from typing import Literal

from data.config import PrepareConfig, RandomConfig
from data.errors import ConfigError
from models.config import ModelConfig
from models.loss_config import LossConfig
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.evaluate_config import ScoresConfig
from pipeline.optimizer_config import DenseOptimizerConfig, ScheduleConfig, SparseOptimizerConfig
from sharding_plans.config import PlanConfig

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where batches come from."""

    source: Literal["prepared", "random"] = "prepared"
    """`prepared`: a directory that `shardline prepare` wrote; `random`: the DLRM paper's random data, without any file."""
    path: str = "artifacts/data/demo"
    """The prepared directory (`prepared` only)."""
    random: RandomConfig = field(default_factory=RandomConfig)
    """The random data (`random` only)."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, and what happens on the way."""

    global_batch_size: int = 2048
    """Rows per step over all ranks; each rank takes an equal share."""
    micro_batches: int = 1
    """Slices of each rank's share that the dense part computes one after the other: less memory, the same gradients."""
    num_epochs: int = 1
    """Passes over the train split."""
    max_steps: int | None = None
    """Stop after this many steps, even in the middle of an epoch."""
    seed: int = 0
    """Seed of the initial weights, the dropout and the order of the rows."""
    log_every_steps: int = 50
    """Steps between two lines of the log."""
    eval_every_steps: int | None = None
    """Steps between two evaluations on the val split; none: only at the end."""
    eval_batch_size: int = 8192
    """Rows per evaluation step over all ranks."""
    stop_at_auc: float | None = None
    """Stop as soon as an evaluation on the val split reaches this AUC."""
    watch: Literal["auc", "logloss"] = "auc"
    """The figure of the val split whose gains `patience` and the schedule `plateau` wait for."""
    watch_target: str = ""
    """Of several targets, the one whose figures of the val split are watched, reached and logged; empty: the first."""
    min_gain: float = 0.0
    """How much better it must be to count as a gain."""
    patience: int | None = None
    """Stop after this many evaluations on the val split without a gain; none: go on."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: matrix products of training in bfloat16 (autocast); weights, tables, losses and evaluations stay float32."""
    compile: bool = False
    """Train the dot interaction by loops compiled for this processor (float32, CPU alone): faster, after some seconds at the
    start. Needs a C++ compiler; the last bits of results differ."""
    threads_per_rank: int | None = None
    """CPU threads of each rank; none: the cores shared out evenly."""
    timeout_s: float = 600.0
    """Seconds that ranks wait for one another; a rank that keeps the others waiting for longer is named, and the job ends."""

    def __post_init__(self) -> None:
        for name in ("global_batch_size", "micro_batches", "num_epochs", "log_every_steps", "eval_batch_size"):
            _check_at_least_one(f"training.{name}", getattr(self, name))
        for name in ("max_steps", "eval_every_steps", "threads_per_rank", "patience"):
            if getattr(self, name) is not None:
                _check_at_least_one(f"training.{name}", getattr(self, name))
        if not self.timeout_s > 0:
            raise ConfigError(f"training.timeout_s is {self.timeout_s}; it must be above 0.")
        if self.stop_at_auc is not None and not 0.5 < self.stop_at_auc <= 1.0:
            raise ConfigError(f"training.stop_at_auc is {self.stop_at_auc}; an AUC to reach lies above 0.5, up to 1.")
        if self.compile and self.precision == "bf16":
            raise ConfigError(
                "training.compile is for float32, and training.precision is bf16, whose products compiling does not beat: "
                "leave one of them out."
            )
        if self.min_gain < 0:
            raise ConfigError(f"training.min_gain is {self.min_gain}; it must be 0 or more.")
        for name in ("stop_at_auc", "patience"):
            if getattr(self, name) is not None and self.eval_every_steps is None:
                raise ConfigError(f"training.{name} needs evaluations on the way: set training.eval_every_steps too.")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights are updated: tables by FBGEMM's fused kernels, the rest by a dense optimizer."""

    sparse: SparseOptimizerConfig = field(default_factory=SparseOptimizerConfig)
    """The embedding tables' optimizer, fused into the backward pass."""
    dense: DenseOptimizerConfig = field(default_factory=DenseOptimizerConfig)
    """The optimizer of dense arch, interaction and over arch."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a sharded ranker, evaluate it, write its report."""

    name: str = "run"
    """Name of the run; its directory is runs_dir/name, or name-2, name-3 ... where that exists already."""
    runs_dir: str = "artifacts/runs"
    """Where runs are kept."""
    ranks: int = 1
    """Processes to train on; above 1, torchrun's launcher starts them here. Under torchrun itself this is ignored."""
    device: Device = "auto"
    """`auto` takes CUDA where it is there, else the CPU."""
    resume_from: str | None = None
    """A checkpoint, or a run's directory (its last good one), to go on from as a new run, on any number of ranks."""
    resume: Literal["new", "auto"] = "new"
    """`auto`: go on in runs_dir/name itself, from its last good checkpoint where it has one; `new`: always another run."""
    profile: bool = False
    """Record some warm steps with torch's profiler: traces and a one-page summary in the run's folder `profile`."""
    max_restarts: int = 0
    """How often to start all ranks again after a crash (with `resume: auto`); for `ranks` above 1, torchrun has its own."""
    data: DataConfig = field(default_factory=DataConfig)
    """The data."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The ranker."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What training minimises."""
    sharding: PlanConfig = field(default_factory=PlanConfig)
    """What the planner may choose from."""
    plan: str | None = None
    """A plan file to use as it is, in place of planning."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How weights are updated."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """How learning rates move."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How long, and what happens on the way."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When checkpoints are saved, and which are kept."""

    def __post_init__(self) -> None:
        _check_at_least_one("ranks", self.ranks)
        if self.max_restarts < 0:
            raise ConfigError(f"max_restarts is {self.max_restarts}; it must be 0 or more.")
        if self.max_restarts and self.resume != "auto":
            raise ConfigError("max_restarts needs resume: auto, or every restart would begin another run.")
        if self.schedule.kind == "plateau" and self.training.eval_every_steps is None:
            raise ConfigError("schedule.kind plateau needs evaluations on the way: set training.eval_every_steps too.")
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ConfigError(f"name is {self.name!r}; it becomes a directory's name, so it needs a plain word.")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluate a checkpoint on val and test, on any number of ranks, or a file of scores."""

    checkpoint: str
    """The checkpoint directory, a run's directory (its last checkpoint is taken), or a Parquet or CSV file of scores."""
    data_path: str | None = None
    """Another prepared directory of the same schema; none: the one that the run was trained on."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("val", "test")
    """Which splits to evaluate."""
    out: str | None = None
    """Directory for metrics.json, the report and the scores; none: only the table on stdout."""
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    """Slices, groups, and how to read a file of scores."""
    ranks: int = 1
    """Processes to evaluate on; above 1, torchrun's launcher starts them here."""
    device: Device = "auto"
    """`auto` takes CUDA where it is there, else the CPU."""
    eval_batch_size: int = 8192
    """Rows per evaluation step over all ranks."""

    def __post_init__(self) -> None:
        _check_at_least_one("ranks", self.ranks)
        _check_at_least_one("eval_batch_size", self.eval_batch_size)


@dataclass(frozen=True, kw_only=True)
class CrossValidateConfig:
    """Train and test a ranker on each fold of one set of rows: mean and spread of its metrics."""

    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    """The raw rows and how to prepare them; `output` and the split's `by`, `num_folds` and `fold` are set per fold."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The training; `data.path` and `name` are set per fold."""
    num_folds: int = 5
    """Number of folds; each is the test split once, and id maps are fitted anew on the rest."""
    out: str = "artifacts/cross_validation"
    """Directory for the prepared folds, their runs, and cross_validation.json."""
    ranks: int = 1
    """Processes to train on; above 1, torchrun's launcher starts them here."""

    def __post_init__(self) -> None:
        _check_at_least_one("ranks", self.ranks)
        if self.num_folds < 2:
            raise ConfigError(f"num_folds is {self.num_folds}; cross-validation needs at least 2.")


def _check_at_least_one(key: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{key} is {value}; it must be at least 1.")
