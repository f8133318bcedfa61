"""Counts of ids are the same however they are cut into files."""

import numpy as np
import pyarrow as pa
import pytest

from data.preparing.count_runs import RunFolder, merge_ascending
from data.preparing.exact_sums import ColumnSums
from data.preparing.key_counts import KeyCounts
from data.preparing.row_counts import small_tables
from data.preparing.tallies import BagTally, BlockTally, CountFigures, Tally
from data.raw.spec_rows import Bags

EVERYTHING = 1 << 40


def counts_of(keys: list[int], counts: list[int], texts: list[str] | None = None) -> KeyCounts:
    return KeyCounts(np.array(keys, np.uint64), np.array(counts), None if texts is None else pa.array(texts))


def joined(pieces) -> tuple[list, list, list]:
    keys, counts, texts = [], [], []
    for piece in pieces:
        keys += piece.keys.tolist()
        counts += piece.counts.tolist()
        texts += [] if piece.texts is None else piece.texts.to_pylist()
    return keys, counts, texts


def test_streams_are_merged_key_by_key_and_the_first_text_stays():
    first = [counts_of([1, 3], [3, 1], ["a", "c"]), counts_of([6, 9], [2, 2], ["f", "k"])]
    second = [counts_of([], [], []), counts_of([1, 4], [1, 4], ["other", "d"]), counts_of([5], [1], ["e"])]
    third = [counts_of([2], [7], ["b"])]
    merged = list(merge_ascending([iter(first), iter(second), iter(third)]))
    assert len(merged) > 1
    assert joined(merged) == ([1, 2, 3, 4, 5, 6, 9], [4, 7, 1, 4, 1, 2, 2], list("abcdefk"))


def block_of(keys: np.ndarray, with_texts: bool) -> BlockTally:
    """A block of one row per key, all of them for training."""
    texts, text_keys = None, None
    if with_texts:
        text_keys = np.unique(keys)
        texts = pa.array([f"text {key}" for key in text_keys])
    missing, is_train = np.zeros(len(keys), bool), np.ones(len(keys), bool)
    bags = Bags(keys=keys, missing=missing, texts=texts, text_keys=text_keys)
    sums = ColumnSums.of(np.ones(len(keys), np.float32), missing, is_train)
    return BlockTally({"C1": BagTally.of(bags, is_train)}, {"I1": sums})


@pytest.mark.parametrize(("kind", "with_texts"), [(np.uint32, False), (np.uint64, False), (np.uint64, True)])
def test_counts_are_those_of_one_count_in_memory(tmp_path, kind, with_texts):
    rng = np.random.default_rng(0)
    folder = RunFolder(tmp_path / "runs")
    # 400 bytes hold the counts of one block at most, so that every block makes a file: more than can be open at once.
    spilled, held = Tally(folder, 400), Tally(RunFolder(tmp_path / "none"), EVERYTHING)
    drawn = [rng.zipf(1.2, 500).astype(kind) % kind(1000) for _ in range(150)]
    for keys in drawn:
        spilled.add(block_of(keys, with_texts))
        held.add(block_of(keys, with_texts))
    assert len(spilled.runs()) == 150
    assert not held.runs()

    keys, counts = np.unique(np.concatenate(drawn), return_counts=True)
    texts = [f"text {key}" for key in keys] if with_texts else []
    counted = spilled.counts("C1")
    assert joined(counted) == (keys.tolist(), counts.tolist(), texts)
    assert joined(counted) == joined(held.counts("C1")), "counts can be read twice"
    figures = CountFigures.of(counted, lambda keys: keys % 2 == 0)
    assert figures.num_distinct == len(keys)
    assert figures.num_unmapped == counts[keys % 2 == 0].sum()
    assert figures.largest.tolist() == sorted(counts.tolist(), reverse=True)[:10_000]


def test_folder_keeps_what_is_named_and_knows_when_it_was_altered(tmp_path):
    folder = RunFolder(tmp_path / "runs")
    runs = [folder.write([counts_of([place], [1])]) for place in range(3)]
    assert folder.keep(runs[:2])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [run.name for run in runs[:2]]
    assert folder.write([counts_of([7], [1])]).name == runs[2].name
    path = tmp_path / "runs" / runs[0].name
    path.write_bytes(path.read_bytes() + b"x")
    assert not folder.keep(runs[:2])


def test_rows_of_small_tables_are_counted_as_keys_are_and_never_filed(tmp_path):
    rng = np.random.default_rng(0)
    folder = RunFolder(tmp_path / "runs")
    in_place, by_key = Tally(folder, 400), Tally(RunFolder(tmp_path / "none"), EVERYTHING)
    for num_rows in (0, 500, 300):
        lengths = rng.integers(0, 3, num_rows)
        lists = rng.integers(0, 50, lengths.sum()).astype(np.uint32)
        single, missing = rng.integers(0, 50, num_rows).astype(np.uint32), rng.random(num_rows) < 0.3
        bags = {
            "one": Bags(keys=single, missing=missing),
            "list": Bags(keys=lists, missing=np.zeros(len(lists), bool), lengths=lengths),
        }
        is_train = rng.random(num_rows) < 0.7
        in_place.add(BlockTally(BagTally.of_all(bags, is_train, small={"one": 50, "list": 50}), {}))
        by_key.add(BlockTally(BagTally.of_all(bags, is_train, small={}), {}))
    assert not in_place.runs()
    for name in ("one", "list"):
        mine, theirs = in_place.sparse[name], by_key.sparse[name]
        assert (mine.num_rows, mine.num_missing, mine.num_ids) == (theirs.num_rows, theirs.num_missing, theirs.num_ids)
        assert joined(in_place.counts(name)) == joined(by_key.counts(name))


def test_the_smallest_tables_that_have_room_are_counted_in_place():
    most = (1 << 24) // 4
    assert small_tables({}) == {}
    assert small_tables({"whole": most}) == {"whole": most}
    assert small_tables({"large": most, "tiny": 3, "larger": most + 1, "half": most // 2}) == {
        "tiny": 3,
        "half": most // 2,
    }


@pytest.mark.parametrize("num_rows", [0, 1, 300])
def test_features_counted_together_are_counted_as_each_alone(num_rows):
    rng = np.random.default_rng(num_rows)
    is_train = rng.random(num_rows) < 0.7
    bags = {}
    for place, lacking in enumerate((0.0, 0.3, 1.0)):
        missing = rng.random(num_rows) < lacking
        # Key 0 is an id like any other where nothing is missing.
        keys = np.where(missing, 0, rng.integers(0, 20, num_rows)).astype(np.uint32)
        bags[f"C{place}"] = Bags(keys=keys, missing=missing)
    bags["wide"] = Bags(keys=np.arange(num_rows, dtype=np.uint64), missing=np.zeros(num_rows, bool))
    found = BagTally.of_all(bags, is_train, small={})
    assert found.keys() == bags.keys()
    for name, each in bags.items():
        alone, together = BagTally.of(each, is_train), found[name]
        assert (together.num_rows, together.num_missing, together.num_ids) == (
            alone.num_rows,
            alone.num_missing,
            alone.num_ids,
        )
        if name == "wide":
            assert joined([together.counts]) == joined([alone.counts])
        else:
            assert together.counts.tolist() == alone.counts.tolist()
            base = together.counts.base
            assert base is None or len(base) <= len(together.counts) + 1, "a view would keep all features' counts"
