"""The command line: `shardline <job> --config a.yaml --any.key value`.

A job's settings come from a light module, so that help, typos and wrong settings answer at once; the module that does the
work is imported only when its job runs.
"""

import argparse
import difflib
import errno
import gc
import inspect
import os
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from data.errors import ConfigError, ShardlineError
from pipeline.job_list import JOBS, Job
from pipeline.launch import AskedToStop, HungRank, is_rank, leave_lost_peer, rank_of_launcher, report_user_mistake
from pipeline.logs import set_up_logging

DESCRIPTION = "Planned sharded training, exact AUC evaluation and sharding-plan comparison on TorchRec."
EXIT_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130


LOST_PEER = re.compile(r"Connection (closed|reset) by peer|Broken pipe|NCCL.*(remote|abort)", re.IGNORECASE)
"""How gloo and NCCL say that another rank is gone: the launcher tells which one, and why."""


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""What a disk refuses: the user's to mend, unlike other errors of the operating system."""


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
            return leave_lost_peer()
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
    chosen = _parsed(parser, _with_bare_flags(argv))
    job = next(job for job in JOBS if job.name == chosen.job)
    settings = parser.instantiate(chosen)[job.name]
    config = config_class_of(job)(**{name: value for name, value in settings.items() if name != "config"})
    num_ranks = getattr(config, "ranks", 1)
    if num_ranks > 1 and job.launches and not is_rank():
        from pipeline.launch import launch

        return launch(num_ranks, argv, max_restarts=getattr(config, "max_restarts", 0))
    return _imported(job.module).run(config)


def _imported(module: str) -> ModuleType:
    """The job's module. Until it is there, nothing is searched for garbage: torch and TorchRec make a million objects to stay."""
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _with_bare_flags(argv: list[str]) -> list[str]:
    """The arguments with `=true` behind every yes-or-no setting that is given alone, such as `--profile`."""
    job = next((job for job in JOBS if job.name == argv[0]), None)
    flags = {f"--{name}" for name in _flags(config_class_of(job))} if job else set()
    followers = [*argv[1:], "--"]
    return [
        f"{argument}=true" if argument in flags and follower.startswith("--") else argument
        for argument, follower in zip(argv, followers, strict=True)
    ]


def _flags(config_class: type, prefix: str = "") -> Iterator[str]:
    """The dotted names of the yes-or-no settings."""
    for name, kind in typing.get_type_hints(config_class).items():
        if kind is bool:
            yield prefix + name
        elif is_dataclass(kind):
            yield from _flags(typing.cast(type, kind), f"{prefix}{name}.")


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
    if key in dict(job.positionals):
        places = " ".join(name.upper() for name, _ in job.positionals)
        return f"{key!r} is given by its place, without --{key}: `shardline {job.name} {places}`"
    known = [action.dest for action in job_parser(job)._actions if not action.dest.endswith(("help", "print_config"))]
    return f"`{job.name}` has no setting {key!r}; {_nearest(key, known)}"


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    rest = [name for name in known if name not in close]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}Known: {', '.join(close + rest)}"
