import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.config import GenerateConfig, PrepareConfig, SplitConfig
from data.errors import ConfigError, DataError
from data.generating.generator import generate
from data.manifest import Manifest
from data.preparing.parts import PartWriter
from data.preparing.prepare import prepare

SAMPLE = Path(__file__).resolve().parents[3] / "shared/data/criteo_kaggle_sample.tsv.gz"
NUM_ROWS = 10_000


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "rows.tsv"
    generate(GenerateConfig(output=str(path), num_rows=NUM_ROWS))
    return path


@pytest.fixture(scope="module")
def days(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "days"
    generate(GenerateConfig(output=str(folder), num_rows=1003, num_days=3))
    return folder


def config_of(source: Path, tmp_path: Path, **settings) -> PrepareConfig:
    defaults = {"row_group_rows": 256, "rows_per_part": 2048, "block_mib": 1, "show_progress": False}
    return PrepareConfig(source=str(source), output=str(tmp_path / "out"), **(defaults | settings))


def rows_of(tmp_path: Path, manifest: Manifest, split: str) -> pa.Table:
    parts = [pq.read_table(tmp_path / "out" / part.path) for part in manifest.splits[split].parts]
    return pa.concat_tables(parts) if parts else pa.table({"row_id": pa.array([], pa.int64())})


def fields_of(raw: Path) -> list[list[bytes]]:
    return [line.split(b"\t") for line in raw.read_bytes().split(b"\n")[:-1]]


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_row_is_in_exactly_one_split_in_order(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    ids = [rows_of(tmp_path, manifest, split)["row_id"].to_numpy() for split in ("train", "val", "test")]
    assert np.sort(np.concatenate(ids)).tolist() == list(range(NUM_ROWS))
    assert all((np.diff(split) > 0).all() for split in ids)
    assert [len(split) for split in ids] == [split.num_rows for split in manifest.splits.values()]
    # Ten percent of 10,000 rows: 1000, standard deviation 30.
    assert len(ids[1]) == pytest.approx(1000, abs=120)
    assert len(ids[2]) == pytest.approx(1000, abs=120)


def test_columns_hold_what_the_raw_line_says(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    test, fields = rows_of(tmp_path, manifest, "test"), fields_of(raw)
    maps = {name: dict(zip(*_id_map(tmp_path, name), strict=True)) for name in manifest.schema.sparse_names}
    for row in test.slice(0, 50).to_pylist():
        label, *values = fields[row["row_id"]]
        assert row["label"] == int(label)
        for name, text in zip(manifest.schema.dense, values[:13], strict=True):
            assert row[name] == np.float32(np.log1p(np.float32(max(int(text or 0), 0))))
        for name, text in zip(manifest.schema.sparse_names, values[13:], strict=True):
            assert row[name] == (maps[name].get(int(text, 16), 0) if text else 0)


def test_id_maps_know_the_train_split_only_and_are_ordered_by_count(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path, min_count=3))
    fields = fields_of(raw)
    train = rows_of(tmp_path, manifest, "train")["row_id"].to_pylist()
    for feature in (0, 2, 5):
        counts = Counter(int(fields[row][14 + feature], 16) for row in train if fields[row][14 + feature])
        expected = sorted((id for id in counts if counts[id] >= 3), key=lambda id: (-counts[id], id))
        ids, rows = _id_map(tmp_path, f"C{feature + 1}")
        assert ids == expected
        assert rows == list(range(1, len(expected) + 1))
        assert manifest.schema.sparse[feature].num_embeddings == len(expected) + 1


def test_statistics_are_those_of_the_train_rows(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    train, fields = rows_of(tmp_path, manifest, "train"), fields_of(raw)
    texts = [fields[row][16] for row in train["row_id"].to_pylist()]
    counts = Counter(texts)
    num_missing = counts.pop(b"")
    found = manifest.sparse_statistics["C3"]
    assert found.num_ids == len(counts)
    assert found.missing_rate == pytest.approx(num_missing / len(texts))
    assert found.top_mass[10] == pytest.approx(sum(n for _, n in counts.most_common(10)) / len(texts))
    assert found.unmapped_rate == pytest.approx(np.mean(train["C3"].to_numpy() == 0))
    assert manifest.dense_statistics["I5"].mean == pytest.approx(train["I5"].to_numpy().mean(dtype=np.float64))
    assert manifest.dense_statistics["I5"].std == pytest.approx(train["I5"].to_numpy().std(dtype=np.float64))
    assert manifest.splits["train"].num_positives == train["label"].to_numpy().sum()


def test_true_probabilities_stay_with_their_rows(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    truth = pq.read_table(raw.with_name("rows.truth.parquet"))["probability"].to_numpy()
    val = rows_of(tmp_path, manifest, "val")
    np.testing.assert_array_equal(val["true_probability"].to_numpy(), truth[val["row_id"].to_numpy()])


def test_hashed_ids_stay_inside_their_tables_and_missing_is_row_0(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path, ids="hash", table_sizes=(*[100] * 25, 7)))
    train, fields = rows_of(tmp_path, manifest, "train"), fields_of(raw)
    texts = [fields[row][39] for row in train["row_id"].to_pylist()]
    assert train["C26"].to_pylist() == [1 + int(text, 16) % 6 if text else 0 for text in texts]
    assert [feature.num_embeddings for feature in manifest.schema.sparse] == [100] * 25 + [7]
    assert manifest.sparse_statistics["C26"].num_ids == 6
    assert not (tmp_path / "out/id_maps").exists()


def test_statistics_do_not_depend_on_how_rows_of_tables_are_counted(raw, tmp_path, monkeypatch):
    settings = {"ids": "hash", "table_sizes": (50,)}
    in_place = prepare(config_of(raw, tmp_path / "in place", **settings))
    monkeypatch.setattr("data.preparing.row_counts._MOST_BYTES", 0)
    by_key = prepare(config_of(raw, tmp_path / "by key", **settings))
    assert in_place.sparse_statistics == by_key.sparse_statistics
    assert max(each.num_ids for each in in_place.sparse_statistics.values()) == 49


def test_columns_that_always_have_a_value_are_stored_without_levels(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    stored = pq.ParquetFile(tmp_path / "out" / manifest.splits["train"].parts[0].path).schema
    assert {stored.column(i).max_definition_level for i in range(len(stored))} == {0}


def test_arrow_allocates_elsewhere_while_preparing_and_as_before_behind_it(raw, tmp_path, monkeypatch):
    usual, seen = pa.default_memory_pool().backend_name, set()
    write = PartWriter.write

    def watched(*given) -> None:
        seen.add(pa.default_memory_pool().backend_name)
        write(*given)

    monkeypatch.setattr(PartWriter, "write", watched)
    prepare(config_of(raw, tmp_path))
    monkeypatch.setattr(PartWriter, "write", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(config_of(raw, tmp_path / "again"))
    assert seen == {"jemalloc" if "jemalloc" in pa.supported_memory_backends() else usual}
    assert pa.default_memory_pool().backend_name == usual


def test_missing_indicators_stand_behind_the_dense_columns(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path, dense_missing_indicator=True))
    assert manifest.schema.dense[13:] == tuple(f"I{i}_missing" for i in range(1, 14))
    val, fields = rows_of(tmp_path, manifest, "val"), fields_of(raw)
    assert val["I12_missing"].to_pylist() == [float(not fields[row][12]) for row in val["row_id"].to_pylist()]


@pytest.mark.parametrize("ids", ["map", "hash"])
def test_same_source_gives_the_same_bytes_at_any_block_size_and_number_of_threads(raw, tmp_path, ids):
    prepare(config_of(raw, tmp_path / "a", ids=ids, num_threads=1, block_mib=1))
    prepare(config_of(raw, tmp_path / "b", ids=ids, num_threads=3, block_mib=8))
    assert tree(tmp_path / "a/out") == tree(tmp_path / "b/out")


def test_packed_source_gives_the_same_parts_as_plain(raw, tmp_path):
    packed = tmp_path / "rows.tsv.gz"
    packed.write_bytes(gzip.compress(raw.read_bytes()))
    (tmp_path / "rows.truth.parquet").write_bytes(raw.with_name("rows.truth.parquet").read_bytes())
    plain = prepare(config_of(raw, tmp_path / "a"))
    assert prepare(config_of(packed, tmp_path / "b")).splits == plain.splits


def test_row_groups_are_full_but_the_last_and_parts_have_their_size(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    parts = manifest.splits["train"].parts
    assert [part.num_rows for part in parts[:-1]] == [2048] * (len(parts) - 1)
    sizes = []
    for part in parts:
        metadata = pq.read_metadata(tmp_path / "out" / part.path)
        sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sizes[:-1] == [256] * (len(sizes) - 1)
    assert sum(sizes) == manifest.splits["train"].num_rows


def test_folds_are_disjoint_and_complete_and_val_lies_outside_the_test_fold(raw, tmp_path):
    tests, vals = [], []
    for fold in range(5):
        split = SplitConfig(by="fold", fold=fold, val_fraction=0.2)
        manifest = prepare(config_of(raw, tmp_path / str(fold), split=split))
        tests.append(rows_of(tmp_path / str(fold), manifest, "test")["row_id"].to_numpy())
        vals.append(rows_of(tmp_path / str(fold), manifest, "val")["row_id"].to_numpy())
        assert not np.intersect1d(tests[-1], vals[-1]).size
    assert np.sort(np.concatenate(tests)).tolist() == list(range(NUM_ROWS))
    assert all(len(rows) == pytest.approx(2000, abs=160) for rows in tests)
    assert all(len(rows) == pytest.approx(1600, abs=150) for rows in vals)


def test_last_day_is_halved_into_val_and_test(days, tmp_path):
    manifest = prepare(config_of(days, tmp_path, split=SplitConfig(by="day")))
    # Days of 334, 334 and 335 lines: the last one's first 168 lines are val.
    ids = {split: rows_of(tmp_path, manifest, split)["row_id"].to_pylist() for split in ("train", "val", "test")}
    assert ids == {"train": list(range(668)), "val": list(range(668, 836)), "test": list(range(836, 1003))}
    assert [file.name for file in manifest.origin] == ["day_0", "day_1", "day_2"]


def test_split_without_val_or_test_has_no_parts(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path, split=SplitConfig(val_fraction=0.0, test_fraction=0.0)))
    assert manifest.splits["val"].parts == ()
    assert manifest.splits["train"].num_rows == NUM_ROWS


def test_negatives_are_left_out_of_train_by_row_id_and_the_rate_is_recorded(raw, tmp_path):
    whole = prepare(config_of(raw, tmp_path / "whole"))
    sampled = prepare(config_of(raw, tmp_path / "sampled", negative_sampling_rate=0.25))
    before, after = (rows_of(tmp_path / name, of, "train") for name, of in (("whole", whole), ("sampled", sampled)))
    num_negatives, num_kept = (int((rows["label"].to_numpy() == 0).sum()) for rows in (before, after))
    # Each of some 6,000 negatives is kept by itself: four standard deviations.
    assert num_kept == pytest.approx(0.25 * num_negatives, abs=4 * (num_negatives * 0.25 * 0.75) ** 0.5)
    assert set(after["row_id"].to_pylist()) < set(before["row_id"].to_pylist())
    assert sampled.splits["train"].num_positives == whole.splits["train"].num_positives
    assert sampled.splits["val"].num_rows == whole.splits["val"].num_rows
    assert (whole.negative_sampling_rate, sampled.negative_sampling_rate) == (1.0, 0.25)
    assert sampled.num_left_out == num_negatives - num_kept
    assert sampled.num_lines == sum(split.num_rows for split in sampled.splits.values()) + sampled.num_left_out
    assert sampled.fingerprint != whole.fingerprint


def test_ids_of_negatives_left_out_have_no_row(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path, negative_sampling_rate=0.1, min_count=1))
    train, fields = rows_of(tmp_path, manifest, "train"), fields_of(raw)
    seen = {int(fields[row][16], 16) for row in train["row_id"].to_pylist() if fields[row][16]}
    assert set(_id_map(tmp_path, "C3")[0]) == seen


@pytest.mark.parametrize("settings", [{}, {"num_threads": 3, "block_mib": 4}])
def test_lower_rate_keeps_a_part_of_what_a_higher_one_keeps(raw, tmp_path, settings):
    manifests = {
        rate: prepare(config_of(raw, tmp_path / str(rate), negative_sampling_rate=rate, **settings))
        for rate in (0.2, 0.6)
    }
    kept = {
        rate: set(rows_of(tmp_path / str(rate), each, "train")["row_id"].to_pylist())
        for rate, each in manifests.items()
    }
    assert kept[0.2] < kept[0.6]


def test_manifest_comes_back_as_it_was_saved(raw, tmp_path):
    manifest = prepare(config_of(raw, tmp_path))
    assert Manifest.load(tmp_path / "out") == manifest
    manifest.verify(tmp_path / "out")


def test_altered_part_is_found_and_prepared_again(raw, tmp_path, caplog):
    manifest = prepare(config_of(raw, tmp_path))
    part = tmp_path / "out" / manifest.splits["val"].parts[0].path
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="altered after preparing"):
        manifest.verify(tmp_path / "out")
    assert prepare(config_of(raw, tmp_path)) == manifest
    assert "Preparing it again" in caplog.text
    manifest.verify(tmp_path / "out")


def test_same_dataset_is_recognised_and_left_alone(raw, tmp_path, caplog):
    caplog.set_level("INFO")
    manifest = prepare(config_of(raw, tmp_path))
    before = (tmp_path / "out/manifest.json").stat().st_ino
    assert prepare(config_of(raw, tmp_path, num_threads=1)) == manifest
    assert (tmp_path / "out/manifest.json").stat().st_ino == before
    assert "nothing to do" in caplog.text
    prepare(config_of(raw, tmp_path, force=True))
    assert (tmp_path / "out/manifest.json").stat().st_ino != before


def test_another_dataset_is_replaced_only_when_forced(raw, tmp_path):
    prepare(config_of(raw, tmp_path))
    with pytest.raises(DataError, match="min_count is 2, asked for is 5"):
        prepare(config_of(raw, tmp_path, min_count=5))
    other = tmp_path / "rows.tsv"
    other.write_bytes(raw.read_bytes()[::-1][::-1].replace(b"\t1\t", b"\t2\t"))
    with pytest.raises(DataError, match=r"made of another rows\.tsv"):
        prepare(config_of(other, tmp_path))
    forced = prepare(config_of(raw, tmp_path, min_count=5, force=True))
    assert Manifest.load(tmp_path / "out") == forced
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_fingerprint_depends_on_settings_and_source_alone(raw, days, tmp_path):
    first = prepare(config_of(raw, tmp_path / "a"))
    assert prepare(config_of(raw, tmp_path / "b", num_threads=1)).fingerprint == first.fingerprint
    assert prepare(config_of(raw, tmp_path / "c", min_count=5)).fingerprint != first.fingerprint
    assert prepare(config_of(days, tmp_path / "d")).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_count": 0}, "min_count is 0"),
        ({"rows_per_part": 100}, "multiple"),
        ({"table_sizes": (10,)}, "is for prepare.ids=hash"),
        ({"ids": "hash", "table_sizes": (10, 10)}, "has 2 numbers"),
        ({"ids": "hash", "table_sizes": (1,)}, "each needs 2"),
        ({"max_bad_fraction": 1.0}, "max_bad_fraction is 1.0"),
        ({"negative_sampling_rate": 0.0}, "negative_sampling_rate is 0.0"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        PrepareConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "no row is left"),
        ({"by": "fold", "fold": 5}, "expected 0 to 4"),
        ({"test_fraction": -0.1}, "test_fraction is -0.1"),
    ],
)
def test_impossible_splits_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        replace(SplitConfig(), **settings)


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"the real Criteo sample is not at {SAMPLE}")
def test_real_criteo_sample_is_prepared_whole(tmp_path):
    manifest = prepare(config_of(SAMPLE, tmp_path))
    assert sum(split.num_rows for split in manifest.splits.values()) == 24_775
    assert sum(split.num_positives for split in manifest.splits.values()) == 5851
    # C9 has three values in the whole log.
    assert manifest.schema.sparse[8].num_embeddings <= 4
    assert json.loads((tmp_path / "out/manifest.json").read_text())["bad_lines"] == {}


def _id_map(tmp_path: Path, name: str) -> tuple[list[int], list[int]]:
    table = pq.read_table(tmp_path / "out/id_maps" / f"{name}.parquet")
    return table["id"].to_pylist(), table["row"].to_pylist()
