"""Which processor this machine has: its name, and whether it is Intel's."""

import platform
from functools import cache
from pathlib import Path

_INFO = Path("/proc/cpuinfo")


def processor_name(info: Path = _INFO) -> str:
    """The processor's model name; with its family and model where a virtual machine shows no number ("AMD EPYC")."""
    facts = _facts(info)
    name = facts.get("model name", "") or platform.processor() or platform.machine()
    if any(letter.isdigit() for letter in name) or "cpu family" not in facts:
        return name
    return f"{name} (family {facts['cpu family']}, model {facts.get('model', '?')})"


@cache
def is_from_intel(info: Path = _INFO) -> bool:
    """Whether Intel made it, for which MKL has kernels of its own; no where the system does not tell."""
    return _facts(info).get("vendor_id") == "GenuineIntel"


def _facts(info: Path) -> dict[str, str]:
    """What Linux tells of the last core, by its names for it."""
    lines = info.read_text().splitlines() if info.is_file() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
