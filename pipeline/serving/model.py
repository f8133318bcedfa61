"""A bundle that answers: raw rows of many requests parsed, transformed and scored together, bad rows named to their senders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.raw.parquet_blocks import TableBlock
from data.raw.rejected import (
    BAD_HEX,
    BAD_INTEGER,
    BAD_NUMBER,
    BAD_WEIGHT,
    BAD_WEIGHTS,
    BEYOND_TABLE,
    LIST_TOO_LONG,
    NOT_UTF8,
)
from data.raw.spec_parser import SpecParser
from data.raw.spec_rows import SpecRows
from data.spec.feature_spec import FeatureSpec
from pipeline.inference.bundle import open_bundle
from pipeline.inference.quality import check_one_target
from pipeline.inference.scoring import Scorer, scorer_of_bundle
from pipeline.serving.json_rows import JsonRows, table_of_rows
from pipeline.serving.raw_columns import RawColumns, raw_columns, scored
from pipeline.serving.refusals import Refusal, bad_request
from pipeline.settings import fingerprint

_EXPECTED = {
    BAD_HEX: "8 hexadecimal digits",
    BAD_INTEGER: "a whole number of 64 bits",
    BAD_NUMBER: "a finite number that float32 can hold, whole ones within 2**53",
    BAD_WEIGHT: "finite weights",
    BAD_WEIGHTS: "as many weights as ids",
    BEYOND_TABLE: "a row of the feature's table",
    LIST_TOO_LONG: "a list of no more items than the model was trained with",
    NOT_UTF8: "a text in UTF-8",
}
_SHOWN_CHARACTERS = 60
RawRows = pa.Table | JsonRows
"""The rows of a request, from Arrow or from JSON."""
Answer = np.ndarray | Refusal
"""float32 [n], the probabilities of a request's rows; or why it has none."""


@dataclass(frozen=True)
class ServedModel:
    """A bundle in memory. `name`: sixteen hex digits over the bytes of its files."""

    name: str
    directory: Path
    loaded: str
    columns: RawColumns
    spec: FeatureSpec
    scorer: Scorer

    def answers(self, requests: Sequence[RawRows]) -> list[Answer]:
        """The answer to each request, from one pass through the model; requests of one kind are parsed as one."""
        groups = [self._read([requests[place] for place in places], places) for places in _alike(requests)]
        stored = [group.stored for group in groups]
        scores = self.scorer.score_table(stored[0] if len(stored) == 1 else pa.concat_tables(stored))
        answers: list[Answer] = [np.empty(0, np.float32)] * len(requests)
        start = 0
        for group in groups:
            found = group.answers(scores[start : start + group.stored.num_rows], self._why)
            for place, answer in zip(group.places, found, strict=True):
                answers[place] = answer
            start += group.stored.num_rows
        return answers

    def _read(self, requests: Sequence[RawRows], places: Sequence[int]) -> "_Group":
        """Requests of one kind, parsed and transformed at once."""
        table = self._table(requests)
        sizes = [request.num_rows for request in requests]
        try:
            rows = self._parser.parse(_block(table))
        except DataError as error:
            return _Group(
                places, sizes, table.slice(0, 0), self.scorer.stored(self._no_rows), None, bad_request(str(error))
            )
        return _Group(places, sizes, table, self.scorer.stored(rows), rows.places)

    def _table(self, requests: Sequence[RawRows]) -> pa.Table:
        """All rows of requests of one kind."""
        from_json = [request.rows for request in requests if isinstance(request, JsonRows)]
        if from_json:
            return table_of_rows([row for rows in from_json for row in rows], self.columns)
        return pa.concat_tables(requests)

    def _why(self, row: pa.Table, place: int) -> Refusal:
        """What is wrong with the row at `place` of a request: its features one by one, until one is found that makes it bad."""
        for column, parser in self._parsers_of_one:
            kinds = list(parser.parse(_block(row)).bad_counts)
            if kinds:
                shown = _shown(row[column][0].as_py())
                expected = _EXPECTED.get(kinds[0], "what the model was trained on")
                return bad_request(
                    f"Row {place}, column {column!r} is {shown} ({kinds[0]}); expected {expected}, or null."
                )
        return bad_request(f"Row {place} cannot be read as the rows that the model was trained on.")

    @cached_property
    def _parser(self) -> SpecParser:
        return SpecParser(self.spec)

    @cached_property
    def _no_rows(self) -> SpecRows:
        return self._parser.parse(_block(table_of_rows([], self.columns)))

    @cached_property
    def _parsers_of_one(self) -> list[tuple[str, SpecParser]]:
        """A parser for each feature alone, beside the first sparse one where it is dense: a spec has at least one of those."""
        sparse = [(each.column, replace(self.spec, dense=(), sparse=(each,))) for each in self.spec.sparse]
        dense = [
            (each.column, replace(self.spec, dense=(each,), sparse=self.spec.sparse[:1])) for each in self.spec.dense
        ]
        return [(column, SpecParser(spec)) for column, spec in [*sparse, *dense]]


@dataclass(frozen=True)
class _Group:
    """Requests that were parsed as one. `places`: theirs in the batch; `sizes`: their rows.

    `raw`: their rows as they came; `stored`: the good ones of them, as a part stores rows; `good`: the places of these in `raw`.
    `refusal`: why none of them has an answer.
    """

    places: Sequence[int]
    sizes: Sequence[int]
    raw: pa.Table
    stored: pa.Table
    good: np.ndarray | None
    refusal: Refusal | None = None

    def answers(self, scores: np.ndarray, why: Callable[[pa.Table, int], Refusal]) -> Iterator[Answer]:
        """Each request's own part of `scores`, those of the good rows; `why` says what is wrong with its first bad row."""
        if self.refusal is not None or self.good is None:
            yield from [self.refusal or bad_request("")] * len(self.sizes)
            return
        is_good = np.zeros(self.raw.num_rows, dtype=bool)
        is_good[self.good] = True
        start = num_before = 0
        for size in self.sizes:
            mine = is_good[start : start + size]
            num_good = int(np.count_nonzero(mine))
            if num_good == size:
                yield scores[num_before : num_before + size]
            else:
                bad = int(np.argmin(mine))
                yield why(self.raw.slice(start + bad, 1), bad)
            start, num_before = start + size, num_before + num_good


def load_model(path: Path, runtime: str, batch_rows: int) -> ServedModel:
    """The bundle at `path`, every byte checked, warmed up; DataError or ConfigError where it cannot answer."""
    bundle = open_bundle(path.resolve())
    scorer = scorer_of_bundle(bundle, runtime, batch_rows)
    check_one_target(scorer.schema, "serve")
    spec = scored(scorer.fitted.spec)
    model = ServedModel(
        name=fingerprint(bundle.signature["files"]),
        directory=bundle.directory,
        loaded=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        columns=raw_columns(scorer.fitted.spec),
        spec=spec,
        scorer=replace(scorer, fitted=replace(scorer.fitted, spec=spec)),
    )
    _warm_up(model)
    return model


def _warm_up(model: ServedModel) -> None:
    """Answer rows of which nothing is known, one and several: what is slow, or fails, the first time does so here."""
    for num_rows in (1, 2, 16):
        (answer,) = model.answers([JsonRows([{}] * num_rows)])
        if isinstance(answer, Refusal) or not ((answer >= 0) & (answer <= 1)).all():
            raise DataError(
                f"{model.directory} gives no probability for rows of missing values: export the bundle again."
            )


def _block(table: pa.Table) -> TableBlock:
    return TableBlock(
        table=table,
        file=Path("request"),
        file_index=0,
        first_line=1,
        first_row_id=0,
        num_lines=table.num_rows,
        num_source_bytes=table.nbytes,
    )


def _alike(requests: Sequence[RawRows]) -> list[list[int]]:
    """Places of the requests by what they came as: JSON, or Arrow of one schema."""
    found: dict[Any, list[int]] = {}
    for place, request in enumerate(requests):
        found.setdefault(None if isinstance(request, JsonRows) else request.schema, []).append(place)
    return list(found.values())


def _shown(value: Any) -> str:
    shown = repr(value.decode(errors="replace") if isinstance(value, bytes) else value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
