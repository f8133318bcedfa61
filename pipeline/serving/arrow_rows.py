"""An Arrow IPC stream to raw rows, checked to the last offset, and its answer.

What can be small as sent and huge as unpacked (compressed buffers, dictionaries, views, lists of nothing) is bounded before it
is unpacked.
"""

import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from data.raw.casting import is_text, pc
from pipeline.serving.raw_columns import RawColumn, RawColumns
from pipeline.serving.refusals import bad_request, too_large

_LEAST_BYTES_OF_AN_ITEM = 8
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, UnicodeDecodeError, struct.error, IndexError)


def rows_of_arrow(body: bytes, columns: RawColumns, max_rows: int, max_bytes: int) -> pa.Table:
    """The rows, with those columns that the model reads; one that is absent is missing in every row."""
    try:
        _check_uncompressed(body)
        table = _read(body, columns, max_rows)
    except _UNREADABLE as error:
        raise bad_request(f"The body is no intact Arrow IPC stream: {str(error)[:200]}.") from error
    found: dict[str, pa.Array] = {}
    num_bytes = 0
    for each in columns.read:
        is_there = each.name in table.column_names and not pa.types.is_null(table.schema.field(each.name).type)
        if is_there:
            found[each.name], size = _plain(table[each.name], each, max_bytes)
            num_bytes += size
        else:
            found[each.name] = pa.nulls(table.num_rows, each.arrow_type)
        if num_bytes > max_bytes:
            raise too_large(
                f"Unpacked, the request is above {max_bytes >> 10:,} KiB, the most that can come at a time."
            )
    return pa.table(found)


def arrow_answer(probabilities: np.ndarray, model: str) -> bytes:
    """An Arrow IPC stream of one column, `probability`, float32; the schema's metadata name the model."""
    table = pa.table({"probability": probabilities}).replace_schema_metadata({"model": model})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _read(body: bytes, columns: RawColumns, max_rows: int) -> pa.Table:
    batches = []
    num_rows = 0
    with pa.ipc.open_stream(pa.BufferReader(body)) as reader:
        _check_names(reader.schema, columns)
        for batch in reader:
            num_rows += batch.num_rows
            if num_rows > max_rows:
                raise too_large(f"The request has {num_rows:,} rows or more; at most {max_rows:,} can come at a time.")
            batch.validate(full=True)
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def _check_names(schema: pa.Schema, columns: RawColumns) -> None:
    for name in schema.names:
        if name not in columns.known:
            raise columns.unknown(name)
    if len(set(schema.names)) < len(schema.names):
        raise bad_request("A column is there twice; expected every name once.")


def _plain(column: pa.ChunkedArray, expected: RawColumn, max_bytes: int) -> tuple[pa.Array, int]:
    """The column as numbers, texts or lists of them, in one piece, and its bytes."""
    whole = column.combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    kind, name = whole.type, expected.name
    if pa.types.is_dictionary(kind):
        _check_type(kind.value_type, name)
        sizes = _sizes(whole.dictionary).take(whole.indices)
        return _unpacked(sizes, max_bytes, whole.dictionary_decode)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        flat = pa.string() if pa.types.is_string_view(kind) else pa.binary()
        return _unpacked(_sizes(whole), max_bytes, lambda: whole.cast(flat))
    if expected.is_list and not is_text(kind):
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise bad_request(f"Column {name!r} is of type {kind}; expected lists, or texts with a separator.")
        _check_type(kind.value_type, name)
        num_items = pc.sum(pc.list_value_length(whole)).as_py() or 0
        return whole, max(whole.nbytes, _LEAST_BYTES_OF_AN_ITEM * num_items)
    _check_type(kind, name)
    return whole, whole.nbytes


def _unpacked(sizes: pa.Array, max_bytes: int, unpack: Callable[[], pa.Array]) -> tuple[pa.Array, int]:
    """What `unpack` gives, where its bytes are within the limit: `sizes` of its texts, int64 [n]."""
    num_bytes = (pc.sum(sizes).as_py() or 0) + _LEAST_BYTES_OF_AN_ITEM * len(sizes)
    return (unpack() if num_bytes <= max_bytes else pa.nulls(0)), num_bytes


def _sizes(values: pa.Array) -> pa.Array:
    """int64: the bytes of each text; numbers count as the least."""
    if pa.types.is_string_view(values.type) or pa.types.is_binary_view(values.type):
        return pa.array([0 if each is None else len(each.as_buffer()) for each in values], pa.int64())
    if is_text(values.type):
        return pc.binary_length(values).cast(pa.int64())
    return pa.array(np.zeros(len(values), np.int64))


def _check_type(kind: pa.DataType, name: str) -> None:
    is_number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    if not (is_number or is_text(kind)):
        raise bad_request(
            f"Column {name!r} is of type {kind}; expected numbers or texts, or where the model reads lists, lists of them."
        )


def _check_uncompressed(body: bytes) -> None:
    """Refusal for compressed buffers: a kilobyte of them can unpack to gigabytes."""
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(body)):
        if message.type != "schema" and _has_compression(message.metadata.to_pybytes(), message.type):
            raise bad_request("The Arrow stream is compressed; expected plain buffers (compression=None).")


def _has_compression(metadata: bytes, kind: str) -> bool:
    """Whether a message says that its buffers are compressed: pyarrow knows, but does not tell before it unpacks them.

    The flatbuffers of Arrow's format/Message.fbs: Message.header is field 2, DictionaryBatch.data 1, RecordBatch.compression 3.
    """
    header = _followed(metadata, _field(metadata, _followed(metadata, 0), 2))
    if kind == "dictionary":
        header = _followed(metadata, _field(metadata, header, 1))
    return _field(metadata, header, 3) > 0


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0 where the table does not have it."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, vtable + slot)[0] if slot < size else 0
    return table + offset if offset else 0


def _followed(metadata: bytes, at: int) -> int:
    return at + struct.unpack_from("<I", metadata, at)[0]
