"""A function over a stream on a Ray cluster: what `ordered` does with threads, on as many machines as there are.

The raw files are read by the job itself, block by block, and blocks travel to where there is a free core. The function and all
that it holds (id maps above all) travel once to each machine.
"""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from data.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_CORE = 2


@contextmanager
def ray_cluster(address: str | None, num_cores: int) -> Iterator[None]:
    """Connected to the cluster at `address`, or to one started on this machine alone, until the block ends.

    ConfigError where Ray is not installed, or the cluster cannot be reached.
    """
    ray = _ray()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster for one job reports to nobody
        # The workers import the same modules as this process, from wherever it has them.
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}}
        settings = {"address": "local", "num_cpus": num_cores, "runtime_env": paths, **quiet}
    else:
        settings = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        with _own_sigterm():
            ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {address or 'this machine'}: {error}. Start one (`ray start --head`), name its address,"
            " or prepare with engine=threads."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray's start puts a handler of SIGTERM in the place of this process's and leaves it there, for every later job too."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def map_on_ray(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function(item)` for each item, in order, on the connected cluster; two items a core are in flight.

    What a worker raises is raised here as it is.
    """
    ray = _ray()
    shared = ray.put(function)
    call = ray.remote(num_cpus=1)(_call)
    most = max(1, int(ray.cluster_resources().get("CPU", 1))) * _IN_FLIGHT_PER_CORE
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(call.remote(shared, item))
        if len(waiting) > most:
            yield _result(ray, waiting.popleft())
    while waiting:
        yield _result(ray, waiting.popleft())


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None


def _ray() -> Any:
    try:
        import_module("ray.exceptions")
        return import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "prepare.engine=ray needs Ray, which is not installed: pip install 'shardline[ray]', or take engine=threads."
        ) from error
