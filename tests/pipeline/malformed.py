"""Requests that no service can answer with probabilities, from near misses to nonsense: name, then the bytes as they are sent."""

import json
import struct
from collections.abc import Iterator

import pyarrow as pa

from tests.pipeline.served import ARROW, JSON, ipc, posted

Sent = tuple[bytes, ...]
_GOOD = json.dumps({"rows": [{"I1": 3, "I2": None, "C1": "68fd1e64", "C2": "80e26c9b"}] * 2}).encode()
_TABLE = pa.table({"I1": [1, 2, 3], "C1": ["68fd1e64", None, "80e26c9b"]})


def malformed_requests() -> Iterator[tuple[str, Sent]]:
    """Whole requests, at the normal speed: about 250."""
    for name, body in [*_bodies(), *_wrong_values()]:
        yield f"json {name}", (posted(body),)
    for name, body in _arrow_bodies():
        yield f"arrow {name}", (posted(body, ARROW),)
    yield from ((f"http {name}", sent) for name, sent in _http())


def cut_off_requests() -> Iterator[tuple[str, Sent]]:
    """Requests whose sender says that no more will come, in the midst of the body."""
    for kept in (0, 1, 20, len(_GOOD) - 1):
        yield f"body after {kept} bytes", (posted(_GOOD)[: len(posted(_GOOD)) - len(_GOOD) + kept],)


def slow_requests() -> Iterator[tuple[str, Sent]]:
    """Pieces to be sent with pauses that add up to more than a client may take."""
    whole = posted(_GOOD)
    yield "headers", tuple(whole[at : at + 10] for at in range(0, 80, 10))
    yield "headers without an end", (b"POST /predict HTTP/1.1\r\nhost: x\r\n", *[b"x-a: b\r\n"] * 8)
    start = len(whole) - len(_GOOD)
    yield "body", (whole[:start], *(_GOOD[at : at + 5] for at in range(0, 40, 5)))
    yield "body that never begins", (whole[:start],)
    chunked = (
        f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    )
    yield "chunks", (chunked, *[b"1\r\n \r\n"] * 8)


def _bodies() -> Iterator[tuple[str, bytes]]:
    for length in range(0, len(_GOOD) - 1, 3):
        yield f"cut to {length}", _GOOD[:length]
    for depth in (3, 10, 100, 1_000, 10_000, 1_000_000):
        yield f"lists {depth} deep", b"[" * depth + b"]" * depth
        yield f"value {depth} deep", b'{"rows":[{"I1":' + b"[" * depth + b"]" * depth + b"}]}"
        yield f"objects {depth} deep", b'{"a":' * depth + b"1" + b"}" * depth
    for word in (
        "null",
        "true",
        "3",
        "-",
        '"rows"',
        "[]",
        "[{}]",
        "{}",
        "NaN",
        "Infinity",
        "rows",
        "{'rows':[]}",
        "\ufeff{}",
    ):
        yield f"body {word}", word.encode()
    for rows in ("null", "3", '"x"', "{}", "[1]", "[null]", '["a"]', "[[]]", "[true]", "[{},3]", "[{}", "[{},]"):
        yield f"rows {rows}", f'{{"rows":{rows}}}'.encode()
    yield "beside rows", b'{"rows":[{}],"more":1}'
    yield "not UTF-8", b'{"rows":[{"C1":"\xff\xfe"}]}'
    yield "latin-1", '{"rows":[{"C1":"é"}]}'.encode("latin-1")
    yield "UTF-16", '{"rows":[{}]}'.encode("utf-16")
    yield "NUL", b'{"rows":[{}]}\0'
    yield "two documents", b'{"rows":[{}]}{"rows":[{}]}'
    yield "packed", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    yield "too many rows", b'{"rows":[' + b",".join([b"{}"] * 5000) + b"]}"
    yield "huge", b'{"rows":[' + b" " * (5 << 20) + b"]}"


def _wrong_values() -> Iterator[tuple[str, bytes]]:
    whole = [
        '"3"',
        "3.5",
        "true",
        "false",
        "[]",
        "[3]",
        "{}",
        "1e400",
        "NaN",
        "-Infinity",
        "9223372036854775808",
        "0x10",
        "01",
        "1e30",
    ]
    text = [
        "3",
        "0.5",
        "true",
        "[]",
        '["68fd1e64"]',
        "{}",
        '"68fd1e6"',
        '"68fd1e644"',
        '"zzzzzzzz"',
        '"68 d1e64"',
        r'"\ud800"',
        r'"\u0000"',
    ]
    text += ['"é"', '"' + "a" * 100_000 + '"']
    for column, values in (("I1", whole), ("I13", whole), ("C1", text), ("C26", text)):
        for value in values:
            yield f"{column}={value[:20]}", f'{{"rows":[{{}},{{"{column}":{value}}}]}}'.encode()
    for name in ("I14", "c1", "", "C", "rows", "C1 ", "é", "a" * 1000):
        yield f"column {name[:10]}", json.dumps({"rows": [{name: 1}]}).encode()


def _arrow_bodies() -> Iterator[tuple[str, bytes]]:
    good = ipc(_TABLE)
    for length in [0, 1, 4, 8, *range(16, len(good) - 8, 24)]:
        yield f"cut to {length}", good[:length]
    yield "file format", _file(_TABLE)
    yield "JSON", _GOOD
    yield "letters", b"A" * 5000
    yield "minus ones", b"\xff" * 5000
    for codec in ("lz4", "zstd"):
        yield f"compressed by {codec}", ipc(pa.table({"I1": [0] * 4000}), compression=codec)
    for kind in (pa.bool_(), pa.date32(), pa.timestamp("s"), pa.float16(), pa.decimal128(10, 2), pa.list_(pa.int64())):
        yield f"I1 of {kind}", ipc(pa.table({"I1": pa.nulls(2, kind)}))
    yield "I1 of texts", ipc(pa.table({"I1": ["three"]}))
    yield "I1 of fractions", ipc(pa.table({"I1": [1.5]}))
    yield "I1 infinite", ipc(pa.table({"I1": [float("inf")]}))
    yield "I1 unsigned", ipc(pa.table({"I1": pa.array([2**64 - 1], pa.uint64())}))
    yield "C1 of numbers", ipc(pa.table({"C1": [1, 2]}))
    yield "C1 of structs", ipc(pa.table({"C1": [{"a": 1}]}))
    yield "C1 not hexadecimal", ipc(pa.table({"C1": ["68fd1e64", "68fd1e6g"]}))
    yield "C1 not UTF-8", ipc(pa.table({"C1": pa.array([b"\xff" * 8]).view(pa.string())}))
    yield "unknown column", ipc(pa.table({"C27": ["68fd1e64"]}))
    yield "a column twice", ipc(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["I1", "I1"]))
    yield (
        "dictionary that unpacks to gigabytes",
        ipc(pa.table({"C1": pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int16()), ["a" * 1_000_000])})),
    )
    yield "views that unpack to gigabytes", ipc(pa.table({"C1": _views(4000, b"a" * 1_000_000)}))
    yield "rows of nothing", ipc(pa.table({"I1": pa.nulls(10_000_000)}))
    yield "offsets beyond the text", _with_offsets_beyond()


def _http() -> Iterator[tuple[str, Sent]]:
    end = b"host: x\r\n\r\n"
    for line in (
        b"GET",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9",
        b"FOO /predict HTTP/1.1",
        b"GET predict HTTP/1.1",
        b"POST /\xff HTTP/1.1",
    ):
        yield f"line {line!r}", (line + b"\r\n" + end,)
    for method, path in (
        ("GET", "/predict"),
        ("PUT", "/predict"),
        ("DELETE", "/predict"),
        ("POST", "/health"),
        ("GET", "/"),
        ("GET", "/docs"),
    ):
        yield f"{method} {path}", (f"{method} {path} HTTP/1.1\r\n".encode() + end,)
    for path in ("/../../etc/passwd", "/%2e%2e/x", "/predict/", "/" + "a" * 20_000, "//predict"):
        yield f"path {path[:20]}", (f"POST {path} HTTP/1.1\r\ncontent-length: 0\r\n".encode() + end,)
    for length in ("-1", "abc", "1e3", "99999999999999999999999", "10000000000"):
        yield (
            f"length {length}",
            (f"POST /predict HTTP/1.1\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n".encode() + end,),
        )
    yield "two lengths", (posted(_GOOD, headers="content-length: 1\r\n"),)
    yield "length and chunks", (posted(_GOOD, headers="transfer-encoding: chunked\r\n"),)
    yield (
        "bad chunk",
        (
            f"POST /predict HTTP/1.1\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n".encode()
            + end
            + b"zz\r\n",
        ),
    )
    yield "headers without an end", (b"GET /health HTTP/1.1\r\n" + b"a: " + b"b" * 200_000,)
    yield "many headers", (b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,)
    yield "NUL in a header", (b"POST /predict HTTP/1.1\r\na: \0\r\n" + end,)
    for kind in ("", "text/plain", "application/xml", "multipart/form-data", "application/json5"):
        yield f"type {kind}", (posted(_GOOD, kind),)
    yield "packed", (posted(_GOOD, headers="content-encoding: gzip\r\n"),)


def _file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _with_offsets_beyond() -> bytes:
    before, offsets, after = ipc(pa.table({"C1": ["a" * 777]})).rpartition(struct.pack("<ii", 0, 777))
    assert offsets
    return before + struct.pack("<ii", 0, 2_000_000_000) + after


def _views(num_rows: int, text: bytes) -> pa.Array:
    """The same text in every row, sent once."""
    one = struct.pack("<i4sii", len(text), text[:4], 0, 0)
    return pa.Array.from_buffers(pa.string_view(), num_rows, [None, pa.py_buffer(one * num_rows), pa.py_buffer(text)])
