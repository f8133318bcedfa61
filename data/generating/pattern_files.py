"""A directory of access patterns: a file for each feature, in the order of their names."""

import re
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.generating.access_pattern import AccessPattern
from data.generating.traces import generate_trace
from data.trace_config import TraceConfig

SUFFIX = ".pattern.json"


def pattern_path(directory: Path, feature: str) -> Path:
    """Where the pattern of a feature lies in a directory of them."""
    return directory / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', feature)}{SUFFIX}"


def load_patterns(path: str | Path | None) -> list[AccessPattern]:
    """The patterns in a directory, C2 before C10, or the one in a file. DataError where there is none."""
    if path is None:
        raise DataError("No access patterns are named: set trace.patterns to what learn-trace wrote.")
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob(f"*{SUFFIX}"), key=lambda file: _natural(file.name))
    if not files:
        raise DataError(f"{path} holds no access pattern (*{SUFFIX}). Write some with learn-trace first.")
    return [AccessPattern.load(file) for file in files]


def traces_of(config: TraceConfig, num_accesses: int, seed: int) -> dict[str, np.ndarray]:
    """A trace, int32 [num_accesses], for each pattern, by its feature's name; every feature has draws of its own."""
    patterns = load_patterns(config.patterns)
    return {pattern.name: one_trace(config, pattern, num_accesses, seed, i) for i, pattern in enumerate(patterns)}


def one_trace(config: TraceConfig, pattern: AccessPattern, num_accesses: int, seed: int, feature: int) -> np.ndarray:
    """The trace of feature number `feature`, int32 [num_accesses]."""
    own_seed = seed * 1_000_003 + feature
    trace = generate_trace(pattern, num_accesses, seed=own_seed, method=config.method, padding=config.padding)
    return trace.astype(np.int32)


def _natural(name: str) -> list[tuple[str, int]]:
    """Numbers in a name count as numbers."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]
