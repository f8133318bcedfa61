"""A bundle: all that turns raw rows into probabilities, in one directory that is complete or not there.

signature.json     what goes in and comes out, versions, fingerprints, the bytes and SHA-256 of every other file
model.json         settings of model and loss, schema, precision
weights.pt         tensors alone (read with weights_only)
transforms.json    feature spec and moments
id_maps/           raw ids to table rows
model.pt2 ...      programs (torch.export, TorchScript, AOTInductor), where the model can be had so
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from data.aside import written_aside
from data.errors import ConfigError, DataError
from data.preparing.fitted_files import load_fitted, save_fitted
from data.schema import Schema, SparseFeature, plain_schema
from models.config import ModelConfig
from models.loss_config import LossConfig
from pipeline.checkpointing.files import describe
from pipeline.checkpointing.meta import code_fingerprint, versions
from pipeline.inference.model_parts import ModelParts, Precision
from pipeline.inference.programs import FILES, make_program
from pipeline.inference.served_model import served_model
from pipeline.run_directory import write_json
from pipeline.settings import from_plain, to_plain

VERSION = 1
SIGNATURE, MODEL, WEIGHTS = "signature.json", "model.json", "weights.pt"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those that were written."""

    directory: Path
    signature: Mapping[str, Any]

    @property
    def formats(self) -> dict[str, str | None]:
        """For every format that was asked for: none, or why the model cannot be had so."""
        return dict(self.signature["formats"])

    @property
    def num_bytes(self) -> int:
        """Bytes of the weights."""
        return self.signature["files"][WEIGHTS]["bytes"]

    def parts(self) -> ModelParts:
        """Settings, weights (mapped into memory, so that processes share them) and transforms."""
        return read_parts(self.directory, self.signature["origin"])


def is_bundle(path: Path) -> bool:
    return (path / SIGNATURE).is_file()


def open_bundle(path: Path) -> Bundle:
    """The bundle at `path`, every file compared with its checksum; DataError naming the one that is missing or altered."""
    try:
        signature = json.loads((path / SIGNATURE).read_text(encoding="utf-8"))
        if signature["version"] != VERSION:
            raise DataError(
                f"{path} is a bundle of version {signature['version']}, this one reads {VERSION}: export anew."
            )
        files = dict(signature["files"])
    except FileNotFoundError as error:
        raise DataError(f"{path} is no bundle: it has no {SIGNATURE}. `shardline export` writes one.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / SIGNATURE} is damaged ({error!r}): export the bundle again.") from error
    for name, expected in files.items():
        if not (path / name).is_file() or describe(path / name) != expected:
            raise DataError(f"{path / name} is missing or not as it was written: export the bundle again.")
    return Bundle(path, signature)


def check_free(path: Path, *, force: bool) -> None:
    """ConfigError where a directory is in the way that must not be replaced."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not is_bundle(path):
        raise ConfigError(f"{path} is there already and is no bundle. Choose another output, or move it away.")
    if not force:
        raise ConfigError(f"{path} holds a bundle already. Choose another output, or replace it with --force=true.")


def write_parts(parts: ModelParts, directory: Path) -> None:
    """The files of a bundle but its programs and its signature, which makes it one."""
    directory.mkdir(parents=True)
    model = {
        "model": to_plain(parts.config),
        "loss": to_plain(parts.loss),
        "schema": plain_schema(parts.schema),
        "precision": asdict(parts.precision),
    }
    write_json(directory / MODEL, model)
    torch.save({name: weight.contiguous() for name, weight in parts.weights.items()}, directory / WEIGHTS)
    save_fitted(parts.fitted, parts.fitted_path, directory)


def write_programs(
    parts: ModelParts, formats: Sequence[str], example: tuple[Any, ...], directory: Path
) -> dict[str, Any]:
    """The programs in the formats asked for; for each none, or why the model cannot be had so."""
    if not formats:
        return {}
    return {kind: make_program(kind, served_model(parts), example, directory / FILES[kind]) for kind in formats}


def write_signature(
    parts: ModelParts, directory: Path, formats: Mapping[str, str | None], check: Mapping[str, Any]
) -> None:
    """Sign what lies in the directory; from here on it is a bundle."""
    files = {
        str(file.relative_to(directory)): describe(file)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != SIGNATURE
    }
    signature = {
        "version": VERSION,
        "written": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "raw_rows": _raw_columns(parts),
        "inputs": _inputs(parts.schema),
        "output": _output(parts.schema),
        "precision": asdict(parts.precision),
        "formats": dict(formats),
        "self_check": dict(check),
        "origin": parts.origin,
        "code": code_fingerprint(),
        "versions": versions(),
        "files": files,
    }
    write_json(directory / SIGNATURE, signature)


def bundle_aside(path: Path) -> Any:
    """Where to write a bundle; it takes its place when the block ends well."""
    return written_aside(path)


def read_parts(directory: Path, origin: Mapping[str, Any]) -> ModelParts:
    try:
        model = json.loads((directory / MODEL).read_text(encoding="utf-8"))
        schema = Schema(
            dense=tuple(model["schema"]["dense"]),
            sparse=tuple(SparseFeature(**each) for each in model["schema"]["sparse"]),
            targets=tuple(model["schema"].get("targets", ())),
        )
        precision = Precision(**model["precision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{directory / MODEL} is damaged ({error!r}): export the bundle again.") from error
    return ModelParts(
        config=from_plain(ModelConfig, model["model"], str(directory / MODEL)),
        loss=from_plain(LossConfig, model["loss"], str(directory / MODEL)),
        schema=schema,
        weights=torch.load(directory / WEIGHTS, weights_only=True, mmap=True),
        precision=precision,
        fitted=load_fitted(directory, schema),
        fitted_path=directory,
        origin=dict(origin),
    )


def _raw_columns(parts: ModelParts) -> list[dict[str, Any]]:
    """The columns of a raw row, as the spec reads them."""
    spec = parts.fitted.spec
    dense = [{"column": each.column, "type": each.type, "feature": each.name} for each in spec.dense]
    sparse = [
        {"column": each.column, "type": each.type, "feature": each.name, "list": each.list, "ids": each.ids}
        for each in spec.sparse
    ]
    weights = [
        {"column": each.weights, "type": "number", "feature": each.name, "list": True}
        for each in spec.sparse
        if each.weights
    ]
    return [*dense, *sparse, *weights]


def _output(schema: Schema) -> dict[str, Any]:
    """Probabilities: one for each row, or one for each row and target."""
    if not schema.targets:
        return {"name": "probability", "dtype": "float32", "shape": ["rows"]}
    shape = ["rows", len(schema.targets)]
    return {"name": "probability", "dtype": "float32", "shape": shape, "targets": list(schema.targets)}


def _inputs(schema: Schema) -> list[dict[str, Any]]:
    """The flat tensors that model and programs take."""
    num_features = len(schema.sparse)
    inputs: list[dict[str, Any]] = [
        {"name": "dense", "dtype": "float32", "shape": ["rows", len(schema.dense)], "features": list(schema.dense)},
        {"name": "values", "dtype": "int32", "shape": ["ids"], "features": list(schema.sparse_names)},
        {"name": "lengths", "dtype": "int32", "shape": [f"{num_features} * rows"]},
    ]
    if schema.is_weighted:
        inputs.append({"name": "weights", "dtype": "float32", "shape": ["ids"]})
    return inputs
