"""The command line: `shardline <job> --config a.yaml --any.key value`.

Jobs are listed in one registry. A job's settings come from a light module, so that help, typos and wrong settings answer at
once; the module that does the work is imported only when its job runs.
"""

import argparse
import difflib
import errno
import inspect
import os
import re
import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from data.errors import ConfigError, ShardlineError
from pipeline.launch import AskedToStop, HungRank, is_rank, rank_of_launcher, report_user_mistake
from pipeline.logs import set_up_logging

DESCRIPTION = "Planned sharded training, exact AUC evaluation and sharding-plan comparison on TorchRec."
EXIT_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130


LOST_PEER = re.compile(r"Connection (closed|reset) by peer|Broken pipe|NCCL.*(remote|abort)", re.IGNORECASE)
"""How gloo and NCCL say that another rank is gone: the launcher tells which one, and why."""


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""What a disk refuses: the user's to mend, unlike other errors of the operating system."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job; the exit code is the job's, 2 for a mistake the user can mend, 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    set_up_logging(is_quiet_rank=rank_of_launcher() > 0)
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except argparse.ArgumentError as error:
        print(f"shardline: {_explain(error, argv)}", file=sys.stderr)
        return EXIT_USER_MISTAKE
    except ShardlineError as error:
        report_user_mistake(error)
        return EXIT_USER_MISTAKE
    except AskedToStop as notice:
        if rank_of_launcher() == 0:
            print(f"shardline: {notice}", file=sys.stderr)
        return notice.exit_code
    except HungRank as error:
        print(f"shardline: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(EXIT_FAILED)  # leaving the group in order would wait for the rank that hangs
    except RuntimeError as error:
        if is_rank() and LOST_PEER.search(str(error)):
            print(
                f"shardline: rank {rank_of_launcher()} lost its connection to another rank, and ends", file=sys.stderr
            )
            return EXIT_FAILED
        raise
    except BrokenPipeError:  # the reader of our answer, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        report_user_mistake(ShardlineError(f"cannot write {error.filename or 'a file of the run'}: {error.strerror}."))
        return EXIT_USER_MISTAKE
    except KeyboardInterrupt:
        if not is_rank():
            print("shardline: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def build_parser(only: str | None = None) -> ArgumentParser:
    """The parser of all jobs; with `only`, the other jobs are named but their settings are not loaded."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="shardline", description=DESCRIPTION, exit_on_error=False)
    jobs = parser.add_subcommands(dest="job", required=True, metavar="job", title="jobs")
    for job in JOBS:
        loaded = only is None or only == job.name
        jobs.add_subcommand(job.name, job_parser(job) if loaded else ArgumentParser(), help=job.help)
    return parser


def job_parser(job: Job) -> ArgumentParser:
    """The parser of one job's own settings."""
    config_class = config_class_of(job)
    positionals = dict(job.positionals)
    parser = ArgumentParser(description=f"{job.help[0].upper()}{job.help[1:]}.", exit_on_error=False)
    parser.add_argument(
        "--config", action="config", help="a YAML file of settings; may be given several times, later ones win"
    )
    fields = typing.get_type_hints(config_class)
    for name, nargs in positionals.items():
        several: dict[str, Any] = {} if nargs == "1" else {"nargs": nargs}
        parser.add_argument(
            name, type=fields[name] if nargs == "1" else str, **several, help=_docstring_of(config_class, name)
        )
    parser.add_class_arguments(config_class, None, skip=set(positionals))
    return parser


def config_class_of(job: Job) -> type:
    """The dataclass of a job's settings."""
    module, name = job.config.split(":")
    return getattr(import_module(module), name)


def _run(argv: list[str]) -> int:
    if not argv:
        build_parser(only="").print_help()
        return EXIT_USER_MISTAKE
    parser = build_parser(only=argv[0])
    chosen = _parsed(parser, argv)
    job = next(job for job in JOBS if job.name == chosen.job)
    settings = parser.instantiate(chosen)[job.name]
    config = config_class_of(job)(**{name: value for name, value in settings.items() if name != "config"})
    num_ranks = getattr(config, "ranks", 1)
    if num_ranks > 1 and job.launches and not is_rank():
        from pipeline.launch import launch

        return launch(num_ranks, argv, max_restarts=getattr(config, "max_restarts", 0))
    return import_module(job.module).run(config)


def _parsed(parser: ArgumentParser, argv: list[str]) -> Namespace:
    try:
        return parser.parse_args(argv)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"a file given by --config is not YAML: {error}") from error


def _docstring_of(config_class: type, field: str) -> str:
    """The line under a field, for a setting that is given by position."""
    source = inspect.getsource(config_class)
    found = re.search(rf'^    {field}: [^\n]*\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _explain(error: argparse.ArgumentError, argv: list[str]) -> str:
    """The parser's words, and for a mistyped name the known names, nearest first."""
    message = error.message.strip()
    job = next((job for job in JOBS if argv and job.name == argv[0]), None)
    if job is None and argv and not argv[0].startswith("-"):
        return f"there is no job {argv[0]!r}; {_nearest(argv[0], [job.name for job in JOBS])}"
    typo = re.search(r"unrecognized arguments: --([\w.]+)|does not accept option '([\w.]+)'", message)
    if job is None or typo is None:
        return f"{message}\nSee `shardline {job.name if job else ''} --help`."
    key = typo[1] or typo[2]
    known = [action.dest for action in job_parser(job)._actions if not action.dest.endswith(("help", "print_config"))]
    return f"`{job.name}` has no setting {key!r}; {_nearest(key, known)}"


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    rest = [name for name in known if name not in close]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}Known: {', '.join(close + rest)}"
