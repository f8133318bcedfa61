"""Starting a job's ranks on this host with torchrun's own launcher, and turning its verdict into an exit code."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import ShardlineError

EXIT_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_LOST_PEER = 3
"""A rank's, where another rank is gone: not the cause, which the launcher looks for among the others."""
EXIT_START_AGAIN = 75
"""Saved and stopped because another host's ranks were asked to: torchrun here is to start its ranks again, without them."""
EXIT_INTERRUPTED = 130
_QUIET = "SHARDLINE_RANK_ERRORS_TO_LAUNCHER"
_MONITOR_INTERVAL_S = 0.1
_LOST_PEER_GRACE_S = 5 * _MONITOR_INTERVAL_S


class HungRank(Exception):
    """A rank has kept the others waiting for longer than they may wait; the message says which."""


class AskedToStop(Exception):
    """The job was asked to stop (SIGTERM), and has saved where it stands; the message says how to go on."""

    def __init__(self, message: str, *, here: bool) -> None:
        super().__init__(message)
        self.exit_code = 0 if here or is_under_own_launcher() else EXIT_START_AGAIN
        """0 where it was this rank that was asked; torchrun would take 0 for a run that is done."""


def launch(num_ranks: int, arguments: list[str], max_restarts: int = 0) -> int:
    """Run `python -m pipeline <arguments>` as `num_ranks` ranks; the exit code is 0, the mistake's 2, or 1.

    A rank that dies ends the others within seconds; what the first failing rank had to say is printed once. After a crash
    (not after a mistake) all are started again, up to `max_restarts` times. SIGTERM is handed on to the ranks, which
    save and end well.
    """
    code = _launch_once(num_ranks, arguments)
    for restart in range(1, max_restarts + 1):
        if code != EXIT_FAILED:
            break
        print(f"shardline: starting all ranks again (restart {restart} of {max_restarts})", file=sys.stderr)
        code = _launch_once(num_ranks, arguments)
    return code


def _launch_once(num_ranks: int, arguments: list[str]) -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _quieten_elastic()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // num_ranks)))
    os.environ[_QUIET] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"shardline-{os.getpid()}",
        max_restarts=0,
        monitor_interval=_MONITOR_INTERVAL_S,
        signals_to_handle="SIGINT,SIGHUP,SIGQUIT",
    )
    try:
        with _sigterm_to_ranks():
            elastic_launch(config, sys.executable)("-u", "-m", "pipeline", *arguments)
    except ChildFailedError as error:
        return _explain(error)
    except (SignalException, KeyboardInterrupt):
        print("shardline: interrupted; all ranks have ended", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def is_rank() -> bool:
    """Whether torchrun (or our own launcher, which is torchrun's) started this process as one of its ranks."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_under_own_launcher() -> bool:
    """Whether `launch` started this process: all ranks are on this host then, and stop as one."""
    return _QUIET in os.environ


def rank_of_launcher() -> int:
    """This process's rank as torchrun set it; 0 without torchrun."""
    return int(os.environ.get("RANK", "0")) if is_rank() else 0


def report_user_mistake(error: ShardlineError) -> None:
    """Say on stderr what went wrong; under our launcher, hand it over instead, so that it is said once and not per rank.

    torchrun's own summary shows it too, with its time; `docs/cluster/torchrun.sh` does not start again after a mistake.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        said = {"message": str(error), "extraInfo": {"timestamp": str(int(time.time())), "user_mistake": True}}
        Path(path).write_text(json.dumps({"message": said}))
    if not is_under_own_launcher():
        print(f"shardline: {error}", file=sys.stderr)


def leave_lost_peer() -> int:
    """The exit code of a rank that lost another, once the launcher has had time to see which one is gone.

    A rank that is killed closes its connections before it has let go of its memory: the others can be the first to end.
    """
    print(f"shardline: rank {rank_of_launcher()} lost its connection to another rank, and ends", file=sys.stderr)
    sys.stderr.flush()
    if is_under_own_launcher():
        time.sleep(_LOST_PEER_GRACE_S)
    return EXIT_LOST_PEER


def _explain(error: "Exception") -> int:
    failures = sorted(error.failures.items(), key=lambda item: _distance_from_cause(item[1].exitcode))  # pyright: ignore
    rank, failure = failures[0]
    if all(other.exitcode == -signal.SIGTERM for _, other in failures):
        print("shardline: stopped by SIGTERM before training went on; nothing new to save", file=sys.stderr)
        return 0
    if failure.exitcode == EXIT_USER_MISTAKE:
        print(f"shardline: {_message_of(failure)}", file=sys.stderr)
        return EXIT_USER_MISTAKE
    how = f"was killed by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else "failed"
    print(f"shardline: rank {rank} {how} (exit code {failure.exitcode}); all other ranks were ended", file=sys.stderr)
    return EXIT_FAILED


def _distance_from_cause(exit_code: int) -> int:
    """Least for the rank whose end explains that of the others."""
    return {EXIT_USER_MISTAKE: 0, -signal.SIGTERM: 2, EXIT_LOST_PEER: 3}.get(exit_code, 1)


@contextmanager
def _sigterm_to_ranks() -> Iterator[None]:
    """Hand SIGTERM on to the ranks and go on waiting for them; torchrun's launcher would end with an error instead."""
    import psutil

    def hand_on(signum: int, frame: object) -> None:
        for rank in psutil.Process().children():
            rank.send_signal(signum)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _message_of(failure: object) -> str:
    message = failure.message  # pyright: ignore[reportAttributeAccessIssue]
    return message["message"] if isinstance(message, dict) else str(message)


def _quieten_elastic() -> None:
    """The launcher's own log of a failed rank is a page of traceback; the message above says it in a line."""
    import logging

    for name in ("torch.distributed.elastic", "torch.distributed.run", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCHELASTIC_LOG_DIR", tempfile.gettempdir())
