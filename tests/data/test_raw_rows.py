import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.raw.raw_blocks import RawText, count_lines
from data.raw.raw_files import raw_files
from data.raw.raw_rows import BAD_KINDS, parse_block

SAMPLE = Path(__file__).resolve().parents[3] / "shared/data/criteo_kaggle_sample.tsv.gz"


def line(label="1", integers=("7",) * 13, ids=("0000000a",) * 26) -> bytes:
    return "\t".join([label, *integers, *ids]).encode() + b"\n"


GOOD = line()


def parse(path: Path, text: bytes, block_bytes: int = 1 << 20):
    path.write_bytes(text)
    return [parse_block(block) for block in RawText([path], block_bytes)]


def test_fields_become_arrays_with_masks_of_what_is_missing(tmp_path):
    text = line("0", ("", "-2", *["123456789012"] * 11), ("", "ffffffff", "0A1b2C3d", *["00000001"] * 23)) + GOOD
    (rows,) = parse(tmp_path / "x", text)
    assert rows.labels.tolist() == [0, 1]
    assert rows.integers[:3, 0].tolist() == [0, -2, 123456789012]
    assert rows.integer_missing[:, 0].tolist() == [True, *[False] * 12]
    assert rows.ids[:3, 0].tolist() == [0, 0xFFFFFFFF, 0x0A1B2C3D]
    assert rows.id_missing[:, 0].tolist() == [True, *[False] * 25]
    assert not rows.id_missing[:, 1].any()
    assert rows.row_ids.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (GOOD[:-10] + b"\n", "wrong number of fields"),
        (GOOD[:-1] + b"\t\n", "wrong number of fields"),
        (b"\n", "wrong number of fields"),
        (line(label="2"), "bad label"),
        (line(label=""), "bad label"),
        (line(label="01"), "bad label"),
        (line(integers=("1.5", *["1"] * 12)), "bad integer"),
        (line(integers=(" 1", *["1"] * 12)), "bad integer"),
        (line(integers=("0x1F", *["1"] * 12)), "bad integer"),
        (line(integers=("+1", *["1"] * 12)), "bad integer"),
        (line(integers=("9" * 30, *["1"] * 12)), "bad integer"),
        (line(ids=("0000000g", *["00000001"] * 25)), "bad hex"),
        (line(ids=("0000001", *["00000001"] * 25)), "bad hex"),
        (line(ids=("000000001", *["00000001"] * 25)), "bad hex"),
        (line(ids=("0000001", "000000001", *["00000001"] * 24)), "bad hex"),
        (GOOD.replace(b"a", b"\xff"), "not UTF-8"),
        (GOOD[:-1] + b"\r\n", "CRLF line end"),
    ],
)
def test_bad_line_is_counted_by_kind_and_its_neighbours_are_kept(tmp_path, bad, kind):
    (rows,) = parse(tmp_path / "x", GOOD + bad + GOOD)
    assert dict(rows.bad_counts) == {kind: 1}
    assert rows.row_ids.tolist() == [0, 2]
    (first,) = rows.bad_lines
    assert (first.kind, first.line, first.file) == (kind, 2, str(tmp_path / "x"))
    assert first.example


def test_blocks_number_lines_across_blocks_and_files(tmp_path):
    (tmp_path / "day_0").write_bytes(GOOD * 100)
    (tmp_path / "day_1").write_bytes(GOOD * 50 + b"oops\n" + GOOD)
    text = RawText(raw_files(tmp_path), 1024)
    rows = [parse_block(block) for block in text]
    assert len(rows) > 10
    row_ids = np.concatenate([block.row_ids for block in rows])
    assert row_ids.tolist() == [*range(150), 151]
    assert [bad.line for block in rows for bad in block.bad_lines] == [51]
    assert [file.num_lines for file in text.origin] == [100, 52]


def test_last_line_needs_no_line_feed(tmp_path):
    (rows,) = parse(tmp_path / "x", GOOD + GOOD[:-1])
    assert len(rows.labels) == 2
    assert count_lines(tmp_path / "x") == 2


@pytest.mark.parametrize("num_members", [1, 3])
def test_gzip_gives_the_rows_of_the_plain_text(tmp_path, num_members):
    packed = b"".join(gzip.compress(GOOD * 500) for _ in range(num_members))
    rows = parse(tmp_path / "x.gz", packed, block_bytes=4096)
    assert sum(len(block.labels) for block in rows) == 500 * num_members


def test_gzip_padded_with_zeros_is_whole(tmp_path):
    rows = parse(tmp_path / "x.gz", gzip.compress(GOOD * 5) + b"\0" * 512)
    assert sum(len(block.labels) for block in rows) == 5


@pytest.mark.parametrize("cut", [12, 100, 1000])
def test_truncated_gzip_is_one_bad_line_behind_the_good_ones(tmp_path, cut):
    text = b"".join(line(ids=[f"{n * 26 + f:08x}" for f in range(26)]) for n in range(500))
    blocks = parse(tmp_path / "x.gz", gzip.compress(text)[:-cut], block_bytes=4096)
    assert sum((block.bad_counts for block in blocks[1:]), blocks[0].bad_counts) == {"truncated .gz": 1}
    num_kept = sum(len(block.labels) for block in blocks)
    assert blocks[-1].bad_lines[0].line == num_kept + 1
    assert 300 < num_kept <= 500


def test_damaged_gzip_is_refused(tmp_path):
    packed = bytearray(gzip.compress(np.random.default_rng(0).bytes(10_000)))
    packed[5000] ^= 0xFF
    with pytest.raises(DataError, match="damaged"):
        parse(tmp_path / "x.gz", bytes(packed))


def test_line_longer_than_a_block_is_refused(tmp_path):
    with pytest.raises(DataError, match="line of more than"):
        parse(tmp_path / "x", b"a" * 10_000, block_bytes=4096)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_line_is_kept_or_counted_whatever_is_in_it(tmp_path_factory, data):
    text = bytearray(GOOD * 4)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(
                st.binary(max_size=3), st.sampled_from([b"\t", b"\n", b"\r\n", b"-", b"1e5", b"\xef\xbb\xbf", b"\0"])
            )
        )
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    num_lines = text.count(b"\n") + (not text.endswith(b"\n"))
    rows = parse(path, bytes(text) or b"\n")
    assert sum(len(block.labels) + block.bad_counts.total() for block in rows) == num_lines
    assert {kind for block in rows for kind in block.bad_counts} <= set(BAD_KINDS)


def test_days_come_in_natural_order_plain_or_packed(tmp_path):
    for name in ("day_10", "day_9.gz", "day_11", "README"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in raw_files(tmp_path)] == ["day_9.gz", "day_10", "day_11"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no day_0"),
        (["a.txt"], "it holds a.txt"),
        (["day_0", "day_2"], "no day_1"),
        (["day_0", "day_0.gz"], "twice"),
    ],
)
def test_folder_that_is_no_folder_of_days_is_refused(tmp_path, names, words):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        raw_files(tmp_path)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        raw_files(tmp_path / "absent.tsv")
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="is empty"):
        raw_files(tmp_path / "empty")


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"the real Criteo sample is not at {SAMPLE}")
def test_real_criteo_rows_are_read_as_python_reads_them():
    rows = [parse_block(block) for block in RawText([SAMPLE], 1 << 20)]
    lines = gzip.decompress(SAMPLE.read_bytes()).split(b"\n")[:-1]
    ids = np.concatenate([block.ids for block in rows], axis=1)
    integers = np.concatenate([block.integers for block in rows], axis=1)
    assert ids.shape == (26, 24775) == (26, len(lines))
    for n in range(0, len(lines), 97):
        fields = lines[n].split(b"\t")
        assert ids[:, n].tolist() == [int(text or b"0", 16) for text in fields[14:]]
        assert integers[:, n].tolist() == [int(text or b"0") for text in fields[1:14]]


INTEGERS = st.one_of(st.just(""), st.integers(-(10**18) + 1, 10**18 - 1).map(str), st.integers(-99, 99).map(str))
IDS = st.one_of(
    st.just(""), st.integers(0, 2**32 - 1).map("{:08x}".format), st.integers(0, 2**32 - 1).map("{:08X}".format)
)
# What is not a field of the format: never to be taken for one.
ODD = st.sampled_from(
    [
        "-",
        "--1",
        "1-",
        "0000000g",
        "/",
        ":",
        "1:",
        "@0000000",
        "`0000000",
        "\x08",
        "9" * 19,
        "é",
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.lists(INTEGERS, min_size=13, max_size=13), st.lists(IDS, min_size=26, max_size=26)),
        min_size=1,
        max_size=3,
    ),
    odd=st.one_of(st.none(), st.tuples(ODD, st.integers(1, 39))),
)
def test_fields_are_what_python_reads_in_them(tmp_path_factory, lines, odd):
    texts = [["1", *integers, *ids] for integers, ids in lines]
    if odd:
        texts[0][odd[1]] = odd[0]
    path = tmp_path_factory.getbasetemp() / "fields"
    (rows,) = parse(path, "".join("\t".join(fields) + "\n" for fields in texts).encode())
    good = texts[1:] if odd else texts
    assert rows.bad_counts.total() == (1 if odd else 0)
    integers = [[int(field or 0) for field in fields[1:14]] for fields in good]
    ids = [[int(field or "0", 16) for field in fields[14:]] for fields in good]
    assert rows.integers.T.tolist() == integers
    assert rows.ids.T.tolist() == ids
    assert rows.integer_missing.T.tolist() == [[not field for field in fields[1:14]] for fields in good]
    assert rows.id_missing.T.tolist() == [[not field for field in fields[14:]] for fields in good]
