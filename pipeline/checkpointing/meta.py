"""What a checkpoint says of itself: where the run stood, and what it is a checkpoint of."""

import difflib
import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.errors import CheckpointError
from pipeline.run_directory import write_json

FORMAT = 2
META = "checkpoint.json"
_CODE = ("data", "models", "sharding_plans", "pipeline")


@dataclass(frozen=True, kw_only=True)
class CheckpointMeta:
    """What a checkpoint is a checkpoint of. Random numbers and learning rates need no state: they follow from seed and step."""

    step: int
    """Steps done; training goes on with this step (steps count from 0)."""
    epoch: int
    """Epochs done."""
    rows_digest: str
    """Digest of the row ids of all steps, in their order; the same at any number of ranks."""
    last_step_rows: int
    """The part of it that the last step brought: the step can be read again and compared."""
    config: dict[str, Any]
    """The run's resolved settings."""
    config_fingerprint: str
    data_fingerprint: str
    code_fingerprint: str
    plan_fingerprint: str
    plan: dict[str, dict[str, Any]]
    """Sharding type and ranks per table."""
    tables: dict[str, list[int]]
    """Rows and width per table."""
    num_ranks: int
    versions: dict[str, str]
    val_auc: float | None = None
    """The val AUC of these very weights, where they were evaluated."""
    best_auc: float | None = None
    """The best val AUC of the run so far."""
    best_step: int | None = None
    stall: dict[str, Any] = field(default_factory=dict)
    """How long the val split has shown no gain, and the cuts of the learning rate that came of it."""
    files: dict[str, dict[str, Any]] | None = None
    """Bytes and SHA-256 per file."""
    format: int = FORMAT


def write_meta(directory: Path, meta: CheckpointMeta, files: dict[str, dict[str, Any]]) -> None:
    """Put the meta of a checkpoint with these files into its directory."""
    write_json(directory / META, {**asdict(meta), "files": files})


def read_meta(path: Path) -> CheckpointMeta:
    """What a checkpoint directory says of itself; CheckpointError where it is none, or of another format."""
    try:
        content = json.loads((path / META).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        wrong = f"is not a checkpoint: it has no {META}" if path.exists() else f"does not exist{_nearest(path)}"
        raise CheckpointError(
            f"{path} {wrong}. Give a directory such as "
            "artifacts/runs/<name>/checkpoints/step-00001000, or a run's directory."
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path / META} is damaged ({error}); take another checkpoint of the run.") from error
    return _meta_of(content, path)


def check_same_tables(path: Path, meta: CheckpointMeta, tables: dict[str, list[int]]) -> None:
    """Raise CheckpointError naming the tables whose rows or width differ from the model's."""
    names = sorted(set(meta.tables) | set(tables), key=list({**meta.tables, **tables}).index)
    wrong = [
        f"{name}: {_shape(meta.tables.get(name))} in the checkpoint, {_shape(tables.get(name))} in the model"
        for name in names
        if meta.tables.get(name) != tables.get(name)
    ]
    if wrong:
        raise CheckpointError(f"{path} is a checkpoint of another model:\n  " + "\n  ".join(wrong))


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    return {name: version(name) for name in ("torch", "torchrec", "numpy")}


@cache
def code_fingerprint() -> str:
    """Sha256 in hex over the source files of this program: equal code, equal fingerprint."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for file in sorted(file for folder in _CODE for file in (root / folder).rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _meta_of(content: Any, path: Path) -> CheckpointMeta:
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int):
        raise CheckpointError(f"{path / META} is damaged (it names no format); take another checkpoint of the run.")
    if found != FORMAT:
        do = "update Shardline" if found > FORMAT else "go on with the Shardline that wrote it"
        raise CheckpointError(f"{path} has checkpoint format {found}, this version reads {FORMAT}; {do}.")
    try:
        meta = CheckpointMeta(**content)
    except TypeError as error:
        raise CheckpointError(f"{path / META} is damaged ({error}); take another checkpoint of the run.") from error
    wrong = [name for name, kinds in _KINDS.items() if not isinstance(getattr(meta, name), kinds)]
    if wrong:
        raise CheckpointError(f"{path / META} is damaged (values of the wrong kind: {', '.join(wrong)}).")
    return meta


_KINDS: dict[str, type] = {
    "step": int,
    "epoch": int,
    "last_step_rows": int,
    "num_ranks": int,
    "rows_digest": str,
    "config_fingerprint": str,
    "data_fingerprint": str,
    "code_fingerprint": str,
    "plan_fingerprint": str,
    "config": dict,
    "plan": dict,
    "tables": dict,
    "versions": dict,
    "files": dict,
}


def _nearest(path: Path) -> str:
    """What lies beside a path that does not exist and has nearly its name, in words."""
    beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=3)
    return f" (there is {' and '.join(close)})" if close else ""


def _shape(rows_and_dim: list[int] | None) -> str:
    return "absent" if rows_and_dim is None else f"{rows_and_dim[0]} rows x {rows_and_dim[1]}"
