"""Where a report's numbers come from: versions, machine and time, in words."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import psutil

from models.processor import processor_name

_PACKAGES = ("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "numpy")


def environment_facts() -> dict[str, str]:
    """What every report states about the place it was made in: date (UTC), versions, machine."""
    return {
        "Written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Versions": _versions(),
        "Machine": _machine(),
    }


def _versions() -> str:
    found = [f"shardline {_version('shardline') or 'from source'}", f"Python {platform.python_version()}"]
    return ", ".join(found + [f"{name} {number}" for name in _PACKAGES if (number := _version(name))])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{processor_name()}, {len(os.sched_getaffinity(0))} cores to use, {memory:.0f} GiB of memory, {platform.system()}"
