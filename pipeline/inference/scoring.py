"""Stored columns or raw blocks to probabilities, by the model itself or by one of its programs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from data.errors import ConfigError
from data.preparing.spec_recipe import FittedSpec
from data.raw.spec_rows import SpecRows
from data.reading.blocks import label_shape
from data.reading.flat_rows import at_least_two, flat_rows
from data.schema import Schema
from pipeline.inference.bundle import Bundle
from pipeline.inference.model_parts import ModelParts
from pipeline.inference.programs import FILES, Program, load_program
from pipeline.inference.served_model import served_model

BATCH_ROWS = 8192


@dataclass(frozen=True)
class Scorer:
    """Probabilities of rows, a bounded number of them at a time."""

    schema: Schema
    fitted: FittedSpec
    program: Program
    batch_rows: int = BATCH_ROWS

    def score_table(self, table: pa.Table) -> np.ndarray:
        """float32 [n], or [n, T] for several targets: the probabilities of a table with the columns of a part."""
        parts = [
            self._score(table.slice(start, self.batch_rows)) for start in range(0, table.num_rows, self.batch_rows)
        ]
        return np.concatenate(parts) if parts else np.empty((0, *label_shape(self.schema)), np.float32)

    def score_rows(self, rows: SpecRows) -> np.ndarray:
        """float32 [n] or [n, T]: the probabilities of raw rows, by the very transforms that prepared the train rows."""
        return self.score_table(self.stored(rows))

    def stored(self, rows: SpecRows) -> pa.Table:
        """Raw rows as a part would store them."""
        return self.fitted.table(rows)

    def _score(self, table: pa.Table) -> np.ndarray:
        flat = at_least_two(flat_rows(table, self.schema))
        with torch.no_grad():
            return self.program(*flat.inputs).numpy()[: table.num_rows]


def scorer_of_parts(parts: ModelParts, batch_rows: int = BATCH_ROWS) -> Scorer:
    """A scorer that runs the model itself."""
    return Scorer(parts.schema, parts.fitted, served_model(parts), batch_rows)


def scorer_of_bundle(bundle: Bundle, runtime: str = "eager", batch_rows: int = BATCH_ROWS) -> Scorer:
    """A scorer that runs the model (`eager`) or a program of the bundle; ConfigError where it has no such program."""
    parts = bundle.parts()
    if runtime == "eager":
        return scorer_of_parts(parts, batch_rows)
    if bundle.formats.get(runtime, "it was not asked for") is not None:
        why = bundle.formats.get(runtime, "it was not asked for when the bundle was exported")
        has = ", ".join(["eager", *(kind for kind, reason in bundle.formats.items() if reason is None)])
        raise ConfigError(f"{bundle.directory} has no program {runtime!r} ({why}). It has {has}.")
    return Scorer(parts.schema, parts.fitted, program_of(bundle.directory, runtime), batch_rows)


def program_of(directory: Path, runtime: str) -> Program:
    """A program of a bundle, or of a directory that is to become one."""
    return load_program(runtime, directory / FILES[runtime])
