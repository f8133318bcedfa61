"""The name of this machine's processor."""

import platform
from pathlib import Path

_INFO = Path("/proc/cpuinfo")


def processor_name(info: Path = _INFO) -> str:
    """The processor's model name; with its family and model where a virtual machine shows no number ("AMD EPYC")."""
    lines = info.read_text().splitlines() if info.is_file() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name", "") or platform.processor() or platform.machine()
    if any(letter.isdigit() for letter in name) or "cpu family" not in facts:
        return name
    return f"{name} (family {facts['cpu family']}, model {facts.get('model', '?')})"
