"""Which parts of a ranker are compiled, and what that needs."""

import os
import shutil

from torch import nn

from data.errors import ConfigError
from models.interactions import DotInteraction


def compile_interactions(ranker: nn.Module, device: str) -> None:
    """Train the ranker's dot interactions by compiled loops; a ConfigError where there is nothing to compile, or no compiler."""
    found = [module for module in ranker.modules() if isinstance(module, DotInteraction)]
    reason = _reason_against(found, device)
    if reason:
        raise ConfigError(f"training.compile is set, but {reason}")
    for interaction in found:
        interaction.is_compiled = True


def _reason_against(found: list[DotInteraction], device: str) -> str:
    if device != "cpu":
        return f"the device is {device}: it is for the CPU, whose libraries are slow with small matrices. Leave it out."
    if not found:
        return (
            "this ranker has no dot interaction, and nothing else is compiled. Leave it out, or take model.ranker=dlrm."
        )
    missing = missing_compiler()
    if missing:
        return f"the C++ compiler {missing} is not there: sudo apt-get install g++, name another one by CXX, or leave it out."
    return ""


def missing_compiler() -> str:
    """The C++ compiler that `torch.compile` would call, where it is not installed; else nothing."""
    compiler = os.environ.get("CXX", "g++")  # as torch.compile looks for it
    return "" if shutil.which(compiler) else compiler
