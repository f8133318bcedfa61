"""Blocks of any format to rows, as a feature spec says. Every row of a block is either taken or rejected by kind.

Legend: n rows of a block.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from data.raw.bad_lines import BadLine, TimeSpan, out_of_order
from data.raw.casting import Cast, as_integers, as_numbers, as_seconds, as_texts, is_text, pc
from data.raw.csv_columns import Columns, CsvReader
from data.raw.hex_column import decode_hex
from data.raw.keys import text_keys
from data.raw.lists import list_items
from data.raw.parquet_blocks import TableBlock
from data.raw.raw_blocks import TextBlock
from data.raw.rejected import (
    BAD_HEX,
    BAD_INTEGER,
    BAD_LABEL,
    BAD_NUMBER,
    BAD_ROW_ID,
    BAD_TIME,
    BEYOND_TABLE,
    NOT_UTF8,
    Rejected,
)
from data.raw.spec_rows import Bags, Numbers, SpecRows
from data.spec.feature_spec import DenseSpec, FeatureSpec, LabelSpec, SparseSpec

_EXAMPLE_CHARACTERS = 80
_ARROW_TYPES = {"integer": pa.int64(), "number": pa.float64(), "string": pa.string(), "hex": pa.binary()}
_HEX = "^[0-9a-fA-F]{8}$"


@dataclass(frozen=True)
class SpecParser:
    """Parses the blocks of files that a spec describes. Holds the spec alone."""

    spec: FeatureSpec

    def parse(self, block: TextBlock | TableBlock) -> SpecRows:
        """The rows of a block. DataError for columns of types that the spec cannot mean, and for times that go back."""
        rejected = Rejected(block.num_lines)
        if isinstance(block, TextBlock):
            columns, places = self._csv.read(block, rejected)
        else:
            columns, places = _columns_of(block.table), np.arange(block.num_lines)
        return _BlockParser(self.spec, block, columns, places, rejected).rows()

    @cached_property
    def _csv(self) -> CsvReader:
        return CsvReader(self.spec.format, column_types(self.spec))


def column_types(spec: FeatureSpec) -> Mapping[str, pa.DataType]:
    """The type that each column of a text file is read as; texts where a column is used as several things."""
    labels = (spec.label, *spec.other_labels) if spec.has_label else ()
    wanted: list[tuple[str, pa.DataType]] = [(each.column, pa.float64()) for each in labels]
    if spec.row_id:
        wanted.append((spec.row_id, pa.int64()))
    if spec.timestamp:
        is_number = spec.timestamp.format in ("seconds", "milliseconds")
        wanted.append((spec.timestamp.column, pa.int64() if is_number else pa.string()))
    wanted += [(each.column, _ARROW_TYPES[each.type]) for each in spec.dense]
    wanted += [(each.column, pa.string() if each.list else _ARROW_TYPES[each.type]) for each in spec.sparse]
    wanted += [(each.weights, pa.string()) for each in spec.sparse if each.weights]
    types: dict[str, pa.DataType] = {}
    for name, kind in wanted:
        types[name] = kind if types.get(name, kind) == kind else pa.string()
    return types


def _columns_of(table: pa.Table) -> Columns:
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        columns[name] = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
    return columns


class _BlockParser:
    """One block's columns on their way to rows. `places`: where the columns' rows are in the block, int64."""

    def __init__(
        self,
        spec: FeatureSpec,
        block: TextBlock | TableBlock,
        columns: Columns,
        places: np.ndarray,
        rejected: Rejected,
    ) -> None:
        self._spec, self._block = spec, block
        self._columns, self._places, self._rejected = columns, places, rejected

    def rows(self) -> SpecRows:
        labels, row_ids, times = self._labels(), self._row_ids(), self._times()
        others = [self._label(each, may_be_missing=True) for each in self._spec.other_labels]
        dense = [self._numbers(each) for each in self._spec.dense]
        bags = [self._bags(each) for each in self._spec.sparse]
        good = self._rejected.good()[self._places]
        if not good.all():
            labels, row_ids = labels[good], row_ids[good]
            others = [each[good] for each in others]
            times = None if times is None else times[good]
            dense = [Numbers(values=each.values[good], missing=each.missing[good]) for each in dense]
            bags = [_bags_of(each, good) for each in bags]
        places = self._places[good]
        probabilities = self._block.probabilities
        return SpecRows(
            row_ids=row_ids,
            places=places,
            labels=labels,
            dense=dense,
            bags=bags,
            other_labels=others,
            timestamps=times,
            probabilities=None if probabilities is None else probabilities[places],
            bad_counts=self._rejected.counts(),
            bad_lines=self._bad_lines(),
            time_span=self._time_span(times, places),
        )

    def _labels(self) -> np.ndarray:
        if not self._spec.has_label:
            return np.zeros(len(self._places), np.int8)
        return self._label(self._spec.label, may_be_missing=False)

    def _label(self, label: LabelSpec, *, may_be_missing: bool) -> np.ndarray:
        """int8 [n]: 0, 1, and -1 where it is missing and may be."""
        numbers, bad = as_numbers(self._columns[label.column], label.column)
        self._reject(BAD_LABEL, bad)
        missing = _nulls(numbers)
        if not may_be_missing:
            self._reject(BAD_LABEL, missing)
        values = numbers.fill_null(0.0).to_numpy(zero_copy_only=False)
        if label.positive_from is not None:
            found = (values >= np.float32(label.positive_from)).astype(np.int8)
        else:
            self._reject(BAD_LABEL, (values != 0) & (values != 1))
            found = (values == 1).astype(np.int8)
        return np.where(missing, np.int8(-1), found) if may_be_missing else found

    def _row_ids(self) -> np.ndarray:
        if not self._spec.row_id:
            return self._block.first_row_id + self._places
        numbers, bad = as_integers(self._columns[self._spec.row_id], self._spec.row_id)
        self._reject(BAD_ROW_ID, bad)
        self._reject(BAD_ROW_ID, _nulls(numbers))
        values = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        self._reject(BAD_ROW_ID, values < 0)
        return values

    def _times(self) -> np.ndarray | None:
        timestamp = self._spec.timestamp
        if timestamp is None:
            return None
        seconds, bad = as_seconds(self._columns[timestamp.column], timestamp.format, timestamp.column)
        self._reject(BAD_TIME, bad)
        self._reject(BAD_TIME, _nulls(seconds))
        return seconds.fill_null(0).to_numpy(zero_copy_only=False)

    def _numbers(self, spec: DenseSpec) -> Numbers:
        column = self._columns[spec.column]
        if spec.type == "integer":
            column, bad = as_integers(column, spec.column)
            self._reject(BAD_INTEGER, bad)
        numbers, bad = as_numbers(column, spec.column)
        self._reject(BAD_NUMBER, bad)
        missing = _nulls(numbers)
        return Numbers(values=numbers.fill_null(0.0).to_numpy(zero_copy_only=False), missing=missing)

    def _bags(self, spec: SparseSpec) -> Bags:
        if not spec.list:
            column = self._columns[spec.column]
            if spec.default is not None:
                column = column.cast(pa.string()) if column.type != pa.string() else column
                column = column.fill_null(spec.default)
            return self._keyed(spec, column, np.arange(len(self._places)))
        items = list_items(spec, self._columns, self._places, self._rejected)
        bags = self._keyed(spec, items.values, items.owners)
        lengths = np.bincount(items.owners, minlength=len(self._places)).astype(np.int32)
        return Bags(
            keys=bags.keys,
            missing=bags.missing,
            lengths=lengths,
            weights=items.weights,
            texts=bags.texts,
            text_keys=bags.text_keys,
        )

    def _keyed(self, spec: SparseSpec, values: pa.Array, owners: np.ndarray) -> Bags:
        """The keys of values that are in these rows."""
        if spec.type == "string":
            return self._text_keys(spec, values, owners)
        if spec.type == "hex":
            return self._hex_keys(values, owners)
        if spec.type == "number":
            numbers = self._take(as_numbers(values, spec.column), BAD_NUMBER, owners)
            buckets = np.searchsorted(np.array(spec.boundaries), _filled(numbers, 0.0), side="right") + 1
            return Bags(keys=buckets.astype(np.uint64), missing=_nulls(numbers))
        integers = self._take(as_integers(values, spec.column), BAD_INTEGER, owners)
        keys = _filled(integers, 0)
        if spec.num_rows is not None and spec.ids == "ready":
            is_beyond = (keys < 0) | (keys >= spec.num_rows)
            self._rejected.add(BEYOND_TABLE, self._places[owners[is_beyond]])
        return Bags(keys=keys.view(np.uint64), missing=_nulls(integers))

    def _text_keys(self, spec: SparseSpec, values: pa.Array, owners: np.ndarray) -> Bags:
        texts = self._take(as_texts(values, spec.column), NOT_UTF8, owners)
        encoded = texts.dictionary_encode()
        missing = _nulls(encoded.indices)
        keys_of_texts = text_keys(encoded.dictionary)
        if not len(keys_of_texts):
            return Bags(keys=np.zeros(len(texts), np.uint64), missing=missing, texts=encoded.dictionary)
        keys = keys_of_texts[_filled(encoded.indices, 0)]
        return Bags(keys=keys, missing=missing, texts=encoded.dictionary, text_keys=keys_of_texts)

    def _hex_keys(self, values: pa.Array, owners: np.ndarray) -> Bags:
        if not is_text(values.type):
            values, _ = as_texts(values, "hex")
        column = values.cast(pa.binary())
        keys, missing = np.zeros(len(column), np.uint32), np.zeros(len(column), bool)
        if not decode_hex(column, keys, missing):
            is_hex = pc.match_substring_regex(column, _HEX).fill_null(True)
            bad = ~is_hex.to_numpy(zero_copy_only=False)
            self._rejected.add(BAD_HEX, self._places[owners[bad]])
            # Their rows are rejected, whatever stands there; a null would keep its bytes, which decoding takes no notice of.
            column = pc.if_else(is_hex, column, pa.scalar(b"00000000", pa.binary()))
            keys[:], missing[:] = 0, False
            is_decoded = decode_hex(column, keys, missing)
            assert is_decoded, "what matches the pattern of hex digits can be decoded"
        return Bags(keys=keys, missing=missing)

    def _take(self, cast: Cast, kind: str, owners: np.ndarray) -> pa.Array:
        values, bad = cast
        if bad is not None:
            self._rejected.add(kind, self._places[owners[bad]])
        return values

    def _reject(self, kind: str, bad: np.ndarray | None) -> None:
        if bad is not None and bad.any():
            self._rejected.add(kind, self._places[bad])

    def _bad_lines(self) -> tuple[BadLine, ...]:
        firsts = self._rejected.firsts()
        if not firsts:
            return ()
        block = self._block
        if isinstance(block, TextBlock):
            lines = block.text.split(b"\n")
            examples = {kind: repr(lines[place][:_EXAMPLE_CHARACTERS])[1:] for kind, place in firsts.items()}
        else:
            rows = {kind: block.table.slice(place, 1).to_pylist()[0] for kind, place in firsts.items()}
            examples = {kind: str(row)[:_EXAMPLE_CHARACTERS] for kind, row in rows.items()}
        return tuple(
            BadLine(kind=kind, file=str(block.file), line=block.first_line + place, example=examples[kind])
            for kind, place in firsts.items()
        )

    def _time_span(self, times: np.ndarray | None, places: np.ndarray) -> TimeSpan | None:
        if times is None or not self._spec.timestamp or not self._spec.timestamp.ordered or not len(times):
            return None
        file, lines = str(self._block.file), self._block.first_line + places
        back = np.flatnonzero(np.diff(times) < 0)
        if len(back):
            at = int(back[0]) + 1
            raise out_of_order(file, int(lines[at]), int(times[at - 1]), int(times[at]))
        return TimeSpan(int(times[0]), int(times[-1]), file, int(lines[0]))


def _nulls(values: pa.Array) -> np.ndarray:
    if not values.null_count:
        return np.zeros(len(values), dtype=bool)
    return values.is_null().to_numpy(zero_copy_only=False)


def _filled(values: pa.Array, default: float) -> np.ndarray:
    if values.null_count:
        values = values.fill_null(default)
    return values.to_numpy(zero_copy_only=False)


def _bags_of(bags: Bags, rows: np.ndarray) -> Bags:
    """The bags of some of the rows."""
    kept = bags.per_id(rows)
    return Bags(
        keys=bags.keys[kept],
        missing=bags.missing[kept],
        lengths=None if bags.lengths is None else bags.lengths[rows],
        weights=None if bags.weights is None else bags.weights[kept],
        texts=bags.texts,
        text_keys=bags.text_keys,
    )
