"""The map from ids to table rows, against a dictionary."""

import numpy as np
import pytest

from data.preparing.id_rows import IdMap


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
@pytest.mark.parametrize("num_ids", [0, 1, 2, 1000])
def test_rows_are_those_by_falling_count_and_0_for_all_others(kind, num_ids):
    rng = np.random.default_rng(num_ids)
    largest = np.iinfo(kind).max
    ids = rng.permutation(np.unique(rng.integers(0, largest, num_ids, dtype=kind)))
    counts = rng.integers(1, 5, num_ids)
    expected = {int(ids[place]): row for row, place in enumerate(np.lexsort((ids, -counts)), start=1)}
    asked = np.concatenate([ids, rng.integers(0, largest, 2000, dtype=kind), np.array([0, 1, largest], kind)])
    missing = rng.random(len(asked)) < 0.1
    rows = IdMap(ids, counts).rows(asked, missing)
    assert rows.dtype == np.int32
    assert rows.tolist() == [0 if lacks else expected.get(int(id), 0) for id, lacks in zip(asked, missing, strict=True)]


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_ids_whose_hashes_lie_together_are_found(kind):
    # All hashes in the last places of the table: what has no room there lies behind it.
    factor = {np.uint32: 0x9E3779B1, np.uint64: 0x9E3779B97F4A7C15}[kind]
    size = 2 ** (8 * np.dtype(kind).itemsize)
    hashes = [size - 1 - number for number in range(40)]
    ids = np.array([each * pow(factor, -1, size) % size for each in hashes], kind)
    id_map = IdMap(ids, np.arange(40, 0, -1))
    assert id_map.rows(ids, np.zeros(40, bool)).tolist() == list(range(1, 41))
    others = np.array([(size - 1 - number) * pow(factor, -1, size) % size for number in range(40, 80)], kind)
    assert id_map.lacks(others).all()
