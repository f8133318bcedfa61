"""Parts in float32 to parts in fewer bits, by a type for each table; and the search for the smallest types that do."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np
import pyarrow as pa
from torch import Tensor

from data.errors import ConfigError
from pipeline.inference.dense_types import stored_dense
from pipeline.inference.model_parts import ModelParts, Precision
from pipeline.inference.scoring import scorer_of_parts
from pipeline.inference.tables import float_rows, float_tables, quantized_rows, row_bytes, with_quantized_tables
from pipeline.inference_config import TABLE_TYPES
from pipeline.metrics.paired import Difference, PairedRows

logger = logging.getLogger(__name__)


def quantized(parts: ModelParts, kinds: Mapping[str, str], dense: str) -> ModelParts:
    """The parts with each table in its type and the dense part in its own; ConfigError where they are quantized already."""
    check_not_quantized(parts)
    weights = stored_dense(with_quantized_tables(parts.weights, kinds), dense)
    return replace(parts, weights=weights, precision=Precision(tables=dict(kinds), dense=dense))


def check_not_quantized(parts: ModelParts) -> None:
    if parts.precision.is_quantized:
        raise ConfigError("The model is quantized already, and what it lost is lost: quantize the checkpoint itself.")


def kinds_of(tables: Sequence[str], kind: str, chosen: Mapping[str, str]) -> dict[str, str]:
    """The type of each table: `kind`, or that of the last pattern that matches it. ConfigError for one that matches none."""
    for pattern in chosen:
        if not any(fnmatchcase(table, pattern) for table in tables):
            raise ConfigError(f"table_types.{pattern} matches no table. The tables are {', '.join(tables)}.")
    return {table: _last_match(table, chosen) or kind for table in tables}


@dataclass(frozen=True)
class Found:
    """The types that a search ended with, and the AUC that they lose on the rows it was made on."""

    kinds: dict[str, str]
    difference: Difference
    auc: float
    num_bytes: int
    num_trials: int


def search(parts: ModelParts, table: pa.Table, max_auc_loss: float, dense: str, chosen: Mapping[str, str]) -> Found:
    """The smallest types whose AUC loss, at the upper end of its 95 % interval, is below `max_auc_loss` of the AUC.

    Each table alone is tried in each type. From the smallest types on, tables are then made wider, the one that gives back
    most AUC per byte first, as few times as the limit needs (by bisection). `chosen` types are kept. ConfigError where even
    float32 tables lose too much, to the dense type that is.
    """
    check_not_quantized(parts)
    trials = _Trials(parts, table, dense)
    kept = {name: kind for name in trials.shapes if (kind := _last_match(name, chosen))}
    path = _path(trials, kept)
    limit = max_auc_loss * trials.auc
    if -trials.difference(path[-1]).low > limit:
        raise ConfigError(
            f"Even with the widest tables that are allowed, up to {-trials.difference(path[-1]).low:.6f} AUC is lost on"
            f" {table.num_rows:,} rows (95 %), above {limit:.6f}. Give more search_rows, a higher max_auc_loss, or other types."
        )
    low, high = 0, len(path) - 1
    while low < high:
        middle = (low + high) // 2
        if -trials.difference(path[middle]).low <= limit:
            high = middle
        else:
            low = middle + 1
    kinds = path[high]
    return Found(kinds, trials.difference(kinds), trials.auc, trials.num_bytes(kinds), trials.num_done)


class _Trials:
    """AUC differences from the float32 model on the same rows, for any choice of types.

    Float tables that hold what the quantized rows stand for are put into one and the same model: scores are those of the
    quantized kernels to rounding.
    """

    def __init__(self, parts: ModelParts, table: pa.Table, dense: str) -> None:
        labels = table["label"].to_numpy() == 1
        if labels.all() or not labels.any():
            raise ConfigError(
                f"All {len(labels):,} rows of the search have one label: there is no AUC. Take another split."
            )
        self._weights, self._table, self.num_done = float_tables(parts.weights), table, 0
        self._originals: dict[str, Tensor] = {name: weight.clone() for name, weight in self._weights.items()}
        self.shapes = {name: (weight.shape[0], weight.shape[1]) for name, weight in self._weights.items()}
        self._rows = PairedRows(labels)
        float_scores = scorer_of_parts(parts).score_table(table)
        self._reference = self._rows.placements(float_scores)
        self.auc = self._rows.auc(self._reference)
        # The same tables, to be overwritten; the dense part has its own copy, for its type is changed in place.
        own = {name: weight.clone() for name, weight in stored_dense(parts.weights, dense).items()}
        self._scorer = scorer_of_parts(replace(parts, weights=own, precision=Precision(tables={}, dense=dense)))
        self._live = float_tables(own)
        self._known: dict[tuple[str, ...], Difference] = {}

    def difference(self, kinds: Mapping[str, str]) -> Difference:
        """AUC with these types less that of float32."""
        key = tuple(kinds[name] for name in self.shapes)
        if key not in self._known:
            for name, weight in self._originals.items():
                kind = kinds[name]
                stands_for = weight if kind == "fp32" else float_rows(quantized_rows(weight, kind), kind)
                self._live[name].copy_(stands_for)
            placed = self._rows.placements(self._scorer.score_table(self._table))
            self._known[key] = self._rows.auc_difference(self._reference, placed)
            self.num_done += 1
        return self._known[key]

    def num_bytes(self, kinds: Mapping[str, str]) -> int:
        return sum(rows * row_bytes(width, kinds[name]) for name, (rows, width) in self.shapes.items())


def _path(trials: _Trials, kept: Mapping[str, str]) -> list[dict[str, str]]:
    """Choices of types from the smallest to the widest, each with one table wider than the one before."""
    ladders = {name: [kept[name]] if name in kept else _ladder(width) for name, (_, width) in trials.shapes.items()}
    widest = {name: ladder[-1] for name, ladder in ladders.items()}
    steps = []
    for name, ladder in ladders.items():
        losses = [-trials.difference({**widest, name: kind}).value for kind in ladder]
        # A wider type gives back at least nothing: what looks otherwise is chance.
        losses = np.maximum.accumulate(losses[::-1])[::-1].tolist()
        rows, width = trials.shapes[name]
        for place, (before, after) in enumerate(pairwise(ladder)):
            grown = rows * (row_bytes(width, after) - row_bytes(width, before))
            steps.append((-(losses[place] - losses[place + 1]) / grown, place, grown, name, after))
    steps.sort(key=lambda step: (step[0], step[2]))
    path = [{name: ladder[0] for name, ladder in ladders.items()}]
    for _, _, _, name, _ in steps:
        # The cheapest gain of a table comes first, whichever of its steps promised it.
        ladder, now = ladders[name], path[-1][name]
        path.append({**path[-1], name: ladder[ladder.index(now) + 1]})
    return path


def _ladder(width: int) -> list[str]:
    """Types from small to large: a type that takes no fewer bytes than a more exact one is left out."""
    ladder: list[str] = []
    for kind in TABLE_TYPES:  # from the most exact on
        if not ladder or row_bytes(width, kind) < row_bytes(width, ladder[-1]):
            ladder.append(kind)
    return ladder[::-1]


def _last_match(table: str, chosen: Mapping[str, str]) -> str | None:
    found = [kind for pattern, kind in chosen.items() if fnmatchcase(table, pattern)]
    return found[-1] if found else None
