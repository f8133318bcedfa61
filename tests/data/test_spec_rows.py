"""Text and Parquet to rows under a spec: what is taken, and what is rejected as what."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.config import PrepareConfig, SplitConfig
from data.errors import DataError
from data.manifest import Manifest
from data.preparing.prepare import prepare
from data.reading.verifying import verify

SPEC = """
format: csv
label: click
dense: [{column: age, type: integer}]
sparse:
  - {column: user, min_count: 1}
  - {column: item, type: integer, ids: ready, num_rows: 10}
  - {column: genres, list: true, max_length: 3, min_count: 1}
"""
GOOD = "1,30,u1,5,a|b\n0,40,u2,6,\n"
HEADER = "click,age,user,item,genres\n"
ALL_TRAIN = SplitConfig(val_fraction=0.0, test_fraction=0.0)


def prepared(tmp_path: Path, text: str | bytes, spec: str = SPEC, name: str = "rows.csv", **settings) -> Manifest:
    source = tmp_path / name
    source.write_bytes(text.encode() if isinstance(text, str) else text)
    return prepared_from(tmp_path, source, spec, **settings)


def prepared_from(tmp_path: Path, source: Path, spec: str, **settings) -> Manifest:
    (tmp_path / "spec.yaml").write_text(spec)
    output, spec_path = str(tmp_path / "out"), str(tmp_path / "spec.yaml")
    settings = {"split": ALL_TRAIN, "max_bad_fraction": 0.9, "show_progress": False, "force": True} | settings
    return prepare(PrepareConfig(source=str(source), spec=spec_path, output=output, **settings))


def rows_in(tmp_path: Path) -> list[dict]:
    return pq.read_table(tmp_path / "out/train/part-00000.parquet").to_pylist()


def texts_of(tmp_path: Path, name: str) -> dict[int, str]:
    table = pq.read_table(tmp_path / f"out/id_maps/{name}.parquet")
    return dict(zip(table["row"].to_pylist(), table["id"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1,30,u1,5\n", "wrong number of fields"),
        ("1,30,u1,5,a,b\n", "wrong number of fields"),
        ('1,30,"u1,5,a\n', "line end within quotes"),
        ("2,30,u1,5,a\n", "bad label"),
        (",30,u1,5,a\n", "bad label"),
        ("\n", "bad label"),
        ("1,x,u1,5,a\n", "bad integer"),
        ("1,3.5,u1,5,a\n", "bad integer"),
        ("1,nan,u1,5,a\n", "bad integer"),
        ("1,30,u1,five,a\n", "bad integer"),
        ("1,30,u1,10,a\n", "id beyond its table"),
        ("1,30,u1,-1,a\n", "id beyond its table"),
        ("1,30,u1,5,a|b|c|d\n", "list too long"),
        ("1,30,u1\r2,5,a\n", "stray carriage return"),
        (b"1,30,\xff\xfe,5,a\n", "not UTF-8"),
        (b"1,30,u1,5,\xff\n", "not UTF-8"),
    ],
)
def test_bad_line_is_rejected_as_its_kind_and_the_others_are_kept(tmp_path, line, kind) -> None:
    line = line.encode() if isinstance(line, str) else line
    text = (HEADER + GOOD).encode() + line + GOOD.encode() * 3
    manifest = prepared(tmp_path, text)
    assert manifest.bad_lines == {kind: 1}
    assert manifest.num_lines == 9
    assert [row["row_id"] for row in rows_in(tmp_path)] == [0, 1, 3, 4, 5, 6, 7, 8]


def test_field_with_a_line_end_is_refused_line_by_line_with_the_reason(tmp_path) -> None:
    text = HEADER + GOOD + '1,30,"u1\nand more",5,a\n' + '1,30,u1,5,"a ""quoted""\n\nb"\n' + GOOD
    manifest = prepared(tmp_path, text)
    # Of the second field that goes on, the empty line in the middle is a row without a label, as it would be anywhere.
    assert manifest.bad_lines == {"line end within quotes": 4, "bad label": 1}
    assert [row["row_id"] for row in rows_in(tmp_path)] == [0, 1, 7, 8]


def test_message_about_bad_lines_shows_where_the_first_of_each_kind_is(tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, HEADER + GOOD + "1,x,u1,5,a\n" + GOOD, max_bad_fraction=0.0)
    # Line 1 is the header, 2 and 3 are good.
    assert f"1 x bad integer, first at {tmp_path / 'rows.csv'}:4: '1,x,u1,5,a'" in str(caught.value)


def test_columns_hold_what_the_lines_say(tmp_path) -> None:
    prepared(tmp_path, HEADER + '1,30,"u,1",5,a|b\n0,,u2,,\n0, 7 ,,6,b\n')
    users, genres = texts_of(tmp_path, "user"), texts_of(tmp_path, "genres")
    rows = rows_in(tmp_path)
    assert [row["age"] for row in rows] == [30.0, 0.0, 7.0]
    assert [users.get(row["user"]) for row in rows] == ["u,1", "u2", None]
    assert [row["item"] for row in rows] == [5, 0, 6]
    assert [[genres[id] for id in row["genres"]] for row in rows] == [["a", "b"], [], ["b"]]


@pytest.mark.parametrize("change", ["crlf", "bom", "no_last_line_feed", "gz", "zst", "reordered"])
def test_same_rows_in_another_dress_are_prepared_alike(tmp_path, change) -> None:
    text = (HEADER + GOOD * 50).encode()
    expected = prepared(tmp_path / _made(tmp_path / "a"), text)
    name = {"gz": "rows.csv.gz", "zst": "rows.csv.zst"}.get(change, "rows.csv")
    changed = {
        "crlf": text.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + text,
        "no_last_line_feed": text[:-1],
        "gz": gzip.compress(text[:300]) + gzip.compress(text[300:]),
        "zst": pa.Codec("zstd").compress(text[:300], asbytes=True)
        + pa.Codec("zstd").compress(text[300:], asbytes=True),
        "reordered": b"\n".join(b",".join(line.split(b",")[::-1]) for line in text.split(b"\n")[:-1]) + b"\n",
    }[change]
    found = prepared(tmp_path / _made(tmp_path / "b"), changed, name=name)
    assert found.splits == expected.splits
    assert found.dense_statistics == expected.dense_statistics


def test_cut_off_zst_is_counted_and_what_came_before_is_kept(tmp_path) -> None:
    rng = np.random.default_rng(0)
    text = HEADER + "".join(f"1,30,u{rng.integers(1 << 40)},5,a\n" for _ in range(20_000))
    packed = pa.Codec("zstd").compress(text.encode(), asbytes=True)
    manifest = prepared(tmp_path, packed[: len(packed) // 2], name="rows.csv.zst")
    assert manifest.bad_lines == {"truncated file": 1}
    assert 1000 < manifest.splits["train"].num_rows == manifest.num_lines - 1


def test_weights_come_behind_ids_or_in_a_column_of_their_own(tmp_path) -> None:
    spec = "format: csv\nlabel: y\nsparse: [{column: t, type: integer, list: true, ids: ready, num_rows: 9, %s}]"
    behind = "y,t\n1,3:0.5|4:2\n0,\n0,5:1e-1\n1,3\n1,3:x\n1,3:\n"
    manifest = prepared(tmp_path, behind, spec % 'weight_separator: ":"')
    first = [(row["t"], row["t_weights"]) for row in rows_in(tmp_path)]
    assert manifest.bad_lines == {"weights do not match ids": 1, "bad weight": 2}
    beside = "y,t,w\n1,3|4,0.5|2\n0,,\n0,5,0.1\n1,3|4,1\n1,3,nan\n1,3,\n"
    manifest = prepared(tmp_path, beside, spec % "weights: w")
    second = [(row["t"], row["t_weights"]) for row in rows_in(tmp_path)]
    assert manifest.bad_lines == {"weights do not match ids": 2, "bad weight": 1}
    assert first == second == [([3, 4], [0.5, 2.0]), ([], []), ([5], [np.float32(0.1)])]
    assert manifest.schema.is_weighted


def test_transforms_are_those_of_the_train_rows(tmp_path) -> None:
    dense = "{column: x, transforms: [{clip: [0, 10]}, standardise], missing_indicator: true}"
    spec = f"format: csv\nlabel: y\ndense: [{dense}]\nsparse: [u]"
    manifest = prepared(tmp_path, "y,x,u\n1,-5,a\n0,2,a\n0,,a\n1,100,a\n", spec)
    # 0, 2 and 10: mean 4, variance (16 + 4 + 36) / 3.
    std = np.sqrt(56 / 3)
    assert [row["x"] for row in rows_in(tmp_path)] == pytest.approx([-4 / std, -2 / std, 0.0, 6 / std], rel=1e-6)
    assert [row["x_missing"] for row in rows_in(tmp_path)] == [0, 0, 1, 0]
    assert manifest.dense_statistics["x"].missing_rate == 0.25


def test_features_can_share_a_table_and_a_vocabulary(tmp_path) -> None:
    spec = "format: csv\nlabel: y\nsparse: [{column: a, table: t, min_count: 2}, {column: b, list: true, table: t, min_count: 2}]"
    manifest = prepared(tmp_path, "y,a,b\n1,p,p|q\n0,r,q\n1,,s\n", spec)
    # p: once in a, once in b; q: twice in b; r and s once.
    assert texts_of(tmp_path, "t") in ({1: "p", 2: "q"}, {1: "q", 2: "p"})
    assert [feature.num_embeddings for feature in manifest.schema.sparse] == [3, 3]
    assert list(manifest.schema.features_of_tables) == ["t"]
    assert manifest.sparse_statistics["a"].unmapped_rate == pytest.approx(2 / 3)
    assert manifest.sparse_statistics["b"].unmapped_rate == pytest.approx(1 / 4)


def test_buckets_begin_at_their_boundaries(tmp_path) -> None:
    spec = "format: csv\nlabel: y\nsparse: [{column: x, type: number, ids: bucketize, boundaries: [0, 10]}]"
    manifest = prepared(tmp_path, "y,x\n1,-1\n1,0\n1,9.9\n1,10\n1,\n", spec)
    assert [row["x"] for row in rows_in(tmp_path)] == [1, 2, 2, 3, 0]
    assert manifest.schema.sparse[0].num_embeddings == 4


def test_parquet_is_prepared_as_text_of_the_same_rows_is(tmp_path) -> None:
    columns = {
        "click": pa.array([True, False] * 50),
        "age": pa.array([30.0, float("nan")] * 50),
        "user": pa.array(["u1", None] * 50).dictionary_encode(),
        "item": pa.array([5, 6] * 50, pa.uint8()),
        "genres": pa.array([["a", "b"], []] * 50, pa.large_list(pa.string())),
    }
    pq.write_table(
        pa.table(columns), tmp_path / "rows.parquet", row_group_size=7, write_statistics=False, compression="zstd"
    )
    found = prepared_from(tmp_path, tmp_path / "rows.parquet", SPEC.replace("csv", "parquet"))
    rows = rows_in(tmp_path)
    expected = prepared(tmp_path, HEADER + "1,30,u1,5,a|b\n0,,,6,\n" * 50)
    assert rows == rows_in(tmp_path)
    assert found.sparse_statistics == expected.sparse_statistics


def test_rows_that_go_back_in_time_are_refused_where_the_spec_says_ordered(tmp_path) -> None:
    spec = "format: csv\nlabel: y\ntimestamp: {column: at, format: iso, ordered: true}\nsparse: [u]"
    with pytest.raises(DataError, match=r"rows\.csv:4 happened at 1704067199, a row before it at 1704067200"):
        prepared(tmp_path, "y,at,u\n1,2023-01-01,a\n1,2024-01-01T00:00:00Z,a\n1,2023-12-31T23:59:59,a\n", spec)
    prepared(tmp_path, "y,at,u\n1,2023-01-01,a\n1,2024-01-01,a\n", spec)
    assert [row["timestamp"] for row in rows_in(tmp_path)] == [1672531200, 1704067200]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "click,age,usr,item,genres\n1,1,a,1,\n",
            r"has no column 'user', which the spec names; it has, nearest first: usr",
        ),
        ("click,age,user,user,genres\n1,1,a,1,\n", "column 'user' is there twice"),
        (HEADER, "leaves no row to train on"),
        ("", "is empty"),
    ],
)
def test_file_that_does_not_fit_the_spec_is_refused_with_one_message(tmp_path, text, words) -> None:
    with pytest.raises(DataError, match=words):
        prepared(tmp_path, text)


def test_damaged_parquet_is_refused_with_its_name(tmp_path) -> None:
    table = pa.table({"click": [1, 0] * 500, "age": [1, 2] * 500, "user": ["a", "b"] * 500, "item": [1, 2] * 500})
    path = tmp_path / "rows.parquet"
    spec = SPEC.replace("csv", "parquet").replace("max_length: 3, ", "")
    pq.write_table(table, path)
    with pytest.raises(DataError, match="has no column 'genres'"):
        prepared_from(tmp_path, path, spec)
    pq.write_table(table.append_column("genres", pa.array([{"a": 1}] * 1000)), path)
    with pytest.raises(DataError, match=r"Column 'genres' is of type struct.*Expected lists"):
        prepared_from(tmp_path, path, spec)
    path.write_bytes(b"PAR1 no Parquet at all PAR1")
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read as Parquet"):
        prepared_from(tmp_path, path, spec)


def test_files_of_a_folder_are_taken_in_natural_order(tmp_path) -> None:
    (tmp_path / "days").mkdir()
    for day in (10, 9):
        (tmp_path / f"days/part-{day}.csv").write_text(HEADER + GOOD)
    (tmp_path / "days/_SUCCESS").write_text("")
    manifest = prepared_from(tmp_path, tmp_path / "days", SPEC, split=SplitConfig(by="day"))
    assert [file.name for file in manifest.origin] == ["part-9.csv", "part-10.csv"]
    assert [split.num_rows for split in manifest.splits.values()] == [2, 1, 1]


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_row_ids_of_the_data_can_be_any_numbers_in_any_order(tmp_path) -> None:
    spec = "format: csv\nlabel: y\nrow_id: id\nsparse: [{column: u, min_count: 1}]"
    manifest = prepared(tmp_path, "id,y,u\n900,1,a\n7,0,b\n-1,0,b\n,0,b\nx,0,b\n", spec)
    assert [row["row_id"] for row in rows_in(tmp_path)] == [900, 7]
    assert manifest.bad_lines == {"bad row id": 3}
    verify(tmp_path / "out", manifest)
