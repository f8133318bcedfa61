"""Drift between prepared sets: an index worked by hand, samples of one source, ids by their names, and days of a log."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.check_config import DriftConfig
from data.config import GenerateConfig, PrepareConfig, SplitConfig
from data.errors import ConfigError, DataError
from data.generating.generator import generate
from data.preparing.prepare import prepare
from data.reading.drift import measure_drift, stability_index


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """a and b: two halves of one source; moved: another skew of ids, fewer clicks, and I5 three times as large."""
    folder = tmp_path_factory.mktemp("drift")
    generate(GenerateConfig(output=str(folder / "rows.tsv"), num_rows=12_000, cardinality_scale=0.001))
    lines = (folder / "rows.tsv").read_bytes().splitlines(keepends=True)
    (folder / "a.tsv").write_bytes(b"".join(lines[:6000]))
    (folder / "b.tsv").write_bytes(b"".join(lines[6000:]))
    (folder / "moved.tsv").write_bytes(b"".join(_moved(line) for line in lines[6000:]))
    for name in ("a", "b", "moved"):
        _prepare(folder, f"{name}.tsv", name)
    return folder


def _prepare(folder: Path, source: str, name: str, **settings) -> None:
    split = settings.pop("split", SplitConfig(val_fraction=0.2, test_fraction=0.0))
    small = {"row_group_rows": 256, "rows_per_part": 1024, "show_progress": False, "min_count": 1}
    prepare(PrepareConfig(source=str(folder / source), output=str(folder / name), split=split, **(small | settings)))


def _moved(line: bytes) -> bytes:
    fields = line.split(b"\t")
    fields[0] = b"0" if fields[5][-1:] in (b"1", b"2", b"3") else fields[0]
    fields[5] = str(3 * int(fields[5])).encode() if fields[5] else b""
    fields[19] = b"deadbeef" if fields[19] and fields[19][0] in b"012345" else fields[19]  # C6: new to A
    return b"\t".join(fields)


def drift_of(sets: Path, a: str, b: str, **settings) -> Any:
    return measure_drift(DriftConfig(a=str(sets / a), b=str(sets / b), **settings))


def test_index_of_counts_worked_by_hand():
    # Shares (9.5, 90.5) / 100 against (19.5, 80.5) / 100, half a row being added to each bucket of 9 and 90, 19 and 80.
    expected = 0.1 * np.log(19.5 / 9.5) - 0.1 * np.log(80.5 / 90.5)
    index, chance = stability_index(np.array([9, 90]), np.array([19, 80]))
    assert index == pytest.approx(expected)
    assert chance == pytest.approx(2 / 99)


def test_rows_of_one_source_have_not_moved(sets):
    drift = drift_of(sets, "a", "b", top_ids=20)
    assert len(drift.features) == 39
    for feature in drift.features:
        # A sum of squared normal deviations: beyond three times its mean only where it has few terms.
        assert feature.psi < 3 * feature.psi_by_chance + 0.005, feature.name
    assert abs(drift.label_z) < 4


def test_a_set_and_itself_do_not_differ_at_all(sets):
    drift = drift_of(sets, "a", "a")
    assert {feature.psi for feature in drift.features} == {0.0}
    assert drift.label_z == 0


def test_what_was_moved_is_found_and_nothing_else(sets):
    drift = drift_of(sets, "a", "moved", top_ids=20)
    assert {feature.name for feature in drift.features if feature.psi >= 0.1} == {"I5", "C6"}
    by_name = {feature.name: feature for feature in drift.features}
    assert by_name["I5"].mean_b - by_name["I5"].mean_a == pytest.approx(np.log(3), abs=0.15)
    assert drift.label_z < -4


def test_new_ids_are_told_by_their_names_whatever_row_they_have(sets):
    c6 = next(each for each in drift_of(sets, "a", "moved").features if each.name == "C6")
    fields = [line.split(b"\t") for line in (sets / "moved.tsv").read_bytes().splitlines()]
    texts = [row[19] for row in fields]
    assert c6.new_rate == pytest.approx(texts.count(b"deadbeef") / len(texts), abs=0.03)
    assert c6.buckets[0] == "rare, missing or new"
    assert c6.shares_b[0] == pytest.approx(c6.new_rate + c6.unmapped_b, abs=0.01)
    assert c6.unmapped_b == pytest.approx(texts.count(b"") / len(texts), abs=0.03)


def test_shares_are_those_of_all_rows(sets):
    for feature in drift_of(sets, "a", "moved").features:
        assert (feature.shares_a.sum(), feature.shares_b.sum()) == (pytest.approx(1), pytest.approx(1))
        assert len(feature.shares_a) == len(feature.shares_b) == len(feature.buckets)


def test_splits_of_one_set_are_compared_by_their_rows(sets):
    drift = drift_of(sets, "a", "a", split_b="val", top_ids=20)
    assert drift.num_rows_a + drift.num_rows_b == 6000
    assert all(feature.new_rate is None and feature.missing_b is None for feature in drift.features)


def test_days_of_one_set_are_told_apart(sets):
    (sets / "days").mkdir()
    for day, name in enumerate(("a", "moved", "b")):
        (sets / f"days/day_{day}").write_bytes((sets / f"{name}.tsv").read_bytes())
    _prepare(sets, "days", "three", split=SplitConfig(val_fraction=0.0, test_fraction=0.0))
    drift = drift_of(sets, "three", "three", day_a=0, day_b=1, top_ids=20)
    assert (drift.num_rows_a, drift.num_rows_b) == (6000, 6000)
    assert {feature.name for feature in drift.features if feature.psi >= 0.1} == {"I5", "C6"}
    assert max(feature.psi for feature in drift_of(sets, "three", "three", day_a=0, day_b=2, top_ids=20).features) < 0.1
    with pytest.raises(DataError, match="no raw file 3"):
        drift_of(sets, "three", "three", day_b=3)


def test_sample_of_row_groups_keeps_to_the_limit(sets):
    drift = drift_of(sets, "a", "moved", max_rows=1024, top_ids=5)
    assert 768 < drift.num_rows_a <= 1024
    assert drift.features[0].name in ("I5", "C6")


def test_tables_mapped_otherwise_are_left_out_with_the_reason(sets):
    _prepare(sets, "b.tsv", "hashed", ids="hash", table_sizes=(50,), min_count=2)
    drift = drift_of(sets, "a", "hashed")
    assert drift.left_out == {f"C{i}": "ids are mapped otherwise" for i in range(1, 27)}
    assert {feature.kind for feature in drift.features} == {"dense"}
    assert drift_of(sets, "hashed", "hashed").left_out == {}


def test_mistakes_are_told(sets):
    with pytest.raises(DataError, match="no split 'dev'"):
        drift_of(sets, "a", "b", split_b="dev")
    with pytest.raises(DataError, match="holds no rows"):
        drift_of(sets, "a", "b", split_b="test")
    with pytest.raises(ConfigError, match="0 < warn_at <= alarm_at"):
        DriftConfig(a="a", b="b", warn_at=0.5)
