"""Bags of a fixed size made of one id, and the keys and sums that preparing relies on."""

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from data.preparing.exact_sums import ColumnSums, NumberSums
from data.preparing.multi_hot import multi_hot_rows
from data.preparing.parts import PartWriter
from data.raw.keys import text_keys
from data.spec.feature_spec import MultiHotSpec

KEYS = [10749833864783185041, 6181042593546830178, 12404022656334207760]


def bags(rows: list[int], size: int, num_rows: int, **settings) -> np.ndarray:
    spec = MultiHotSpec(size=size, **settings)
    return multi_hot_rows(np.array(rows, np.int32), spec, "C1", num_rows).reshape(len(rows), size)


def test_bag_begins_with_its_id_and_the_same_id_brings_the_same_others() -> None:
    found = bags([7, 3, 7, 0], size=5, num_rows=1000)
    assert found[:, 0].tolist() == [7, 3, 7, 0]
    assert found[0].tolist() == found[2].tolist() != found[1].tolist()
    assert bags([3], 5, 1000).tolist() == [found[1].tolist()]
    assert bags([3], 5, 1000, seed=1).tolist() != [found[1].tolist()]


@pytest.mark.parametrize("distribution", ["uniform", "pareto"])
def test_drawn_ids_are_rows_of_the_table_that_are_not_for_missing_ids(distribution) -> None:
    for num_rows in (1, 2, 3, 40_000_000):
        drawn = bags(list(range(2000)), 4, num_rows, distribution=distribution)[:, 1:]
        lowest = min(1, num_rows - 1)
        assert lowest <= drawn.min() <= drawn.max() < max(num_rows, 1)


def test_uniform_draws_are_even_and_pareto_draws_follow_their_law() -> None:
    uniform = bags(list(range(50_000)), 2, 11)[:, 1]
    # 5,000 of each of ten rows, standard deviation 67.
    assert np.bincount(uniform, minlength=11)[1:] == pytest.approx(5000, abs=350)
    pareto = bags(list(range(50_000)), 2, 40_000_001, distribution="pareto")[:, 1]
    # Below 1: 1 - 2 ** -0.25 = 15.9 %; what wraps around adds next to nothing. Standard deviation 0.16 %.
    assert np.mean(pareto == 1) == pytest.approx(1 - 2**-0.25, abs=0.008)


def test_keys_of_texts_are_the_same_always_and_everywhere() -> None:
    texts = ["", "a", "12345678", "123456789", "häagen", "a" * 1000, "12345678\x00"]
    keys = text_keys(pa.array(texts))
    assert len(set(keys.tolist())) == len(texts)
    # Written down once: an id map that was prepared years ago must go on meaning the same texts.
    assert keys[:3].tolist() == KEYS
    sliced = pa.array(["x", *texts, None]).slice(1, len(texts))
    assert text_keys(sliced).tolist() == keys.tolist()


def test_sums_do_not_depend_on_blocks_and_nothing_cancels_out() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(5000) * 10.0 ** rng.integers(-30, 30, 5000)).astype(np.float32)
    values[:3] = [0.0, 1e-45, -3e38]
    exact = sum(map(Fraction, values.tolist())) / 5000
    expected = float(exact), math.sqrt(sum((Fraction(v) - exact) ** 2 for v in values.tolist()) / 5000)
    for cuts in ([], [1, 2, 4000]):
        sums = NumberSums()
        for piece in np.split(values, cuts):
            sums.add(ColumnSums.of(piece, np.zeros(len(piece), bool), np.ones(len(piece), bool)))
        assert sums.mean_and_std() == expected


def test_small_deviation_beside_a_large_mean_is_exact() -> None:
    sums = NumberSums()
    values = np.array([16_777_214, 16_777_215], np.float32)
    sums.add(ColumnSums.of(values, np.zeros(2, bool), np.ones(2, bool)))
    assert sums.mean_and_std() == (16_777_214.5, 0.5)


def test_parts_with_long_lists_do_not_depend_on_how_rows_came(tmp_path):
    num_rows, size = 8192, 100
    ids = np.random.default_rng(0).integers(0, 1000, num_rows * size, dtype=np.int32)
    lists = pa.ListArray.from_arrays(np.arange(0, num_rows * size + 1, size, dtype=np.int32), ids)
    table = pa.table({"label": np.zeros(num_rows, np.int8), "C1": lists})
    checksums = set()
    # A row group of a list column has several pages: they must end at the same rows.
    for rows_per_table in (num_rows, 3440, 700):
        writer = PartWriter(tmp_path / str(rows_per_table), "train", table.schema, num_rows, 4096)
        (tmp_path / str(rows_per_table)).mkdir()
        for block, start in enumerate(range(0, num_rows, rows_per_table)):
            writer.write(table.slice(start, rows_per_table), block)
        checksums.add(writer.close().parts[0].sha256)
    assert len(checksums) == 1
