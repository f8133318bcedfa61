"""Every job of the command line: a new one is an entry here, a class of settings and a module with `run`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Job:
    """One subcommand: `config` is "module:Class" of its settings, `module` has `run(config) -> int`."""

    name: str
    help: str
    config: str
    module: str
    positionals: tuple[tuple[str, str], ...] = ()
    """Settings given by position, each with its nargs: "1" for one value, "+" for one or more."""
    launches: bool = True
    """Whether `ranks` above 1 starts that many processes; a planning job only plans for so many."""


JOBS = (
    Job(
        name="generate",
        help="write Criteo-like rows with a planted click model, and the best AUC possible on them",
        config="data.config:GenerateConfig",
        module="pipeline.jobs.generate",
        positionals=(("kind", "1"),),
    ),
    Job(
        name="inspect",
        help="look at the first rows of a table and propose a feature spec for it",
        config="data.spec.inspect_config:InspectConfig",
        module="pipeline.jobs.inspect",
        positionals=(("source", "1"),),
    ),
    Job(
        name="prepare",
        help="turn raw text or Parquet into id maps, Parquet parts and a manifest",
        config="data.config:PrepareConfig",
        module="pipeline.jobs.prepare",
    ),
    Job(
        name="verify",
        help="say whether a prepared dataset is whole: every part, row group and id against the manifest",
        config="data.check_config:VerifyConfig",
        module="pipeline.jobs.verify",
        positionals=(("directory", "1"),),
    ),
    Job(
        name="drift",
        help="how far the rows of one prepared set have moved from another's, feature by feature",
        config="data.check_config:DriftConfig",
        module="pipeline.jobs.drift",
        positionals=(("a", "1"), ("b", "1")),
    ),
    Job(
        name="learn-trace",
        help="learn how the ids of features are accessed, and keep that as small files without the ids",
        config="data.trace_config:LearnTraceConfig",
        module="pipeline.jobs.learn_trace",
        positionals=(("source", "1"),),
    ),
    Job(
        name="train",
        help="plan, shard and train a ranker; evaluate it; write its report",
        config="pipeline.config:TrainConfig",
        module="pipeline.jobs.train",
    ),
    Job(
        name="describe",
        help="the model card of a ranker: sizes by part, arithmetic and bytes per sample, a picture",
        config="pipeline.describe_config:DescribeConfig",
        module="pipeline.jobs.describe",
        launches=False,
    ),
    Job(
        name="evaluate",
        help="exact AUC and the other metrics of a checkpoint or of a file of scores",
        config="pipeline.config:EvaluateConfig",
        module="pipeline.jobs.evaluate",
        positionals=(("checkpoint", "1"),),
    ),
    Job(
        name="compare-runs",
        help="say which of several runs is better on the same rows, and how sure that is",
        config="pipeline.evaluate_config:CompareRunsConfig",
        module="pipeline.jobs.compare_runs",
        positionals=(("runs", "+"),),
    ),
    Job(
        name="cross-validate",
        help="train and test a ranker on each fold of one set of rows",
        config="pipeline.config:CrossValidateConfig",
        module="pipeline.jobs.cross_validate",
    ),
    Job(
        name="leaderboard",
        help="cross-validate several rankers on the same rows: AUC, log loss, size and speed in one table",
        config="pipeline.leaderboard_config:LeaderboardConfig",
        module="pipeline.jobs.leaderboard",
    ),
    Job(
        name="checkpoint",
        help="inspect, verify, convert or export a checkpoint",
        config="pipeline.checkpoint_config:CheckpointJobConfig",
        module="pipeline.jobs.checkpoint",
        positionals=(("action", "1"), ("checkpoint", "1")),
    ),
    Job(
        name="export",
        help="write a bundle of model, transforms and id maps: raw rows in, probabilities out",
        config="pipeline.inference_config:ExportConfig",
        module="pipeline.jobs.export",
        positionals=(("model", "1"),),
    ),
    Job(
        name="predict",
        help="score raw files or a prepared split in bulk with a bundle or a checkpoint",
        config="pipeline.inference_config:PredictConfig",
        module="pipeline.jobs.predict",
        positionals=(("model", "1"), ("source", "1")),
    ),
    Job(
        name="serve",
        help="answer over HTTP with a bundle: raw rows in, probabilities out, until SIGTERM",
        config="pipeline.serve_config:ServeConfig",
        module="pipeline.jobs.serve",
        positionals=(("bundle", "1"),),
    ),
    Job(
        name="quantize",
        help="write a bundle in fewer bits: tables in fp16, int8 or int4, dense layers in bf16 or int8",
        config="pipeline.inference_config:QuantizeConfig",
        module="pipeline.jobs.quantize",
        positionals=(("model", "1"),),
    ),
    Job(
        name="compare-quantized",
        help="say what fewer bits cost: size, AUC on the same rows with intervals, latency",
        config="pipeline.inference_config:CompareQuantizedConfig",
        module="pipeline.jobs.compare_quantized",
        positionals=(("models", "+"),),
    ),
    Job(
        name="plan",
        help="plan for any hardware, from a laptop: write a plan file with its costs, or say why there is none",
        config="pipeline.plan_job_config:PlanJobConfig",
        module="pipeline.jobs.plan",
        launches=False,
    ),
    Job(
        name="compare-plans",
        help="put strategies, clusters, batches and plan files side by side in one report",
        config="pipeline.plan_job_config:ComparePlansConfig",
        module="pipeline.jobs.compare_plans",
        launches=False,
    ),
    Job(
        name="measure-plans",
        help="measure plans on live ranks, part by part, and hold their estimates against it",
        config="pipeline.plan_job_config:MeasurePlansConfig",
        module="pipeline.jobs.measure_plans",
    ),
    Job(
        name="calibrate",
        help="fit the planner's cost model to this machine: a hardware profile that plan and compare-plans take",
        config="pipeline.calibrate_config:CalibrateConfig",
        module="pipeline.jobs.calibrate",
    ),
    Job(
        name="diff-plans",
        help="say what differs between two plan files, with gates for CI",
        config="pipeline.plan_job_config:DiffPlansConfig",
        module="pipeline.jobs.diff_plans",
        positionals=(("a", "1"), ("b", "1")),
    ),
    Job(
        name="doctor",
        help="say whether this installation is sound, and how to mend it",
        config="pipeline.doctor_config:DoctorConfig",
        module="pipeline.jobs.doctor",
    ),
)
