"""What the machine offers to a job: instruction sets, cores, memory, disk, a compiler. Standard library only; Linux."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.installing.findings import Finding

GIB = 2**30
_LEAST_PYTHON = (3, 11)
_SHOWN_FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}


def has_nvidia_gpu() -> bool:
    """Whether the system knows of an NVIDIA GPU, whatever torch thinks of it."""
    return Path("/proc/driver/nvidia/gpus").is_dir() or any(Path("/dev").glob("nvidia[0-9]*"))


def check_machine(work_dir: str, *, min_disk_gib: float, min_memory_gib: float) -> list[Finding]:
    """Python, CPU, memory, disk and compiler, in the order of how much hangs on them."""
    return [
        _python(),
        _cpu(_cpu_flags()),
        _memory(free_memory_bytes(), min_memory_gib),
        _disk(work_dir, min_disk_gib),
        _compiler(),
    ]


def usable_cores() -> float:
    """Cores that this process may use: its affinity, or the container's quota where that is less."""
    cores = float(len(os.sched_getaffinity(0)))
    quota, _, period = _first_line("/sys/fs/cgroup/cpu.max").partition(" ")
    return min(cores, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else cores


def free_memory_bytes() -> int | None:
    """Memory that a job could still take: what the system has available, or what the container's limit leaves."""
    available = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")]
    limit, used = _first_line("/sys/fs/cgroup/memory.max"), _first_line("/sys/fs/cgroup/memory.current")
    if limit.isdigit() and used.isdigit():
        available.append(max(int(limit) - int(used), 0))
    return min(available, default=None)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _LEAST_PYTHON:
        return Finding(subject="python", text=f"{version} at {sys.executable}")
    text = f"{version} is too old: Shardline needs 3.11 or later."
    return Finding(subject="python", severity="fatal", text=text, mend="make setup PYTHON=python3.11")


def _cpu(flags: set[str]) -> Finding:
    cores = f"{usable_cores():g} of {os.cpu_count()} cores to use"
    if not flags:
        return Finding(subject="cpu", severity="note", text=f"{cores}; which instructions it has cannot be seen here")
    known = ", ".join(name for flag, name in _SHOWN_FLAGS.items() if flag in flags)
    if "avx2" in flags:
        slow = "" if {"avx512_bf16", "amx_bf16"} & flags else "; bfloat16 is emulated, so it saves no time"
        return Finding(subject="cpu", text=f"{cores}, {known}{slow}")
    text = f"{cores}, without AVX2: FBGEMM's CPU kernels need it. Choose a machine made since 2015."
    return Finding(subject="cpu", severity="fatal", text=text)


def _memory(free: int | None, least_gib: float) -> Finding:
    if free is None:
        return Finding(subject="memory", severity="note", text="free memory cannot be seen here")
    text = f"{free / GIB:.1f} GiB free"
    if free >= least_gib * GIB:
        return Finding(subject="memory", text=text)
    text += f", less than {least_gib:g}: larger tables will not fit. End something else."
    return Finding(subject="memory", severity="warning", text=text, mend="ps -eo rss,pid,comm --sort=-rss | head")


def _disk(work_dir: str, least_gib: float) -> Finding:
    place = Path(work_dir).absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        text = f"{place} cannot be written to, so there is no room for {work_dir}."
        return Finding(subject="disk", severity="fatal", text=text, mend=f"sudo chown $USER {place}")
    free = shutil.disk_usage(place).free
    text = f"{free / GIB:.1f} GiB free for {work_dir}/"
    if free >= least_gib * GIB:
        return Finding(subject="disk", text=text)
    text += f", less than {least_gib:g}: data, checkpoints and scores may not fit."
    return Finding(subject="disk", severity="warning", text=text, mend=f"du -xh --max-depth=2 {place} | sort -h | tail")


def _compiler() -> Finding:
    found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if found is None:
        text = "no C++ compiler: training runs, but torch.compile does not."
        return Finding(subject="compiler", severity="warning", text=text, mend="sudo apt-get install g++")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return Finding(subject="compiler", text=(told.splitlines() or [found])[0])


def _cpu_flags() -> set[str]:
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    return set(flags.partition(":")[2].split())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _first_line(path: str) -> str:
    return (_lines(path) or [""])[0]
