"""Skewed and traced ids: the laws themselves, and the random source that draws from them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.config import GenerateConfig, RandomConfig
from data.errors import ConfigError, DataError
from data.generating.access_pattern import learn
from data.generating.feature_columns import feature_ids
from data.generating.generator import generate
from data.generating.pattern_files import load_patterns, pattern_path, traces_of
from data.generating.random_rows import random_schema
from data.generating.random_source import RandomEvalReader, RandomReader
from data.generating.skewed import Zipf, pareto_rows
from data.generating.stack_distances import hit_rates, stack_distances
from data.generating.trace_file import write_traces
from data.trace_config import TraceConfig

EVEN = (np.arange(1_000_000) + 0.5) / 1_000_000


@pytest.fixture(scope="module")
def patterns(tmp_path_factory) -> Path:
    """Patterns of C2 (300 ids, flat) and C10 (skewed), from 20,000 accesses each."""
    directory = tmp_path_factory.mktemp("patterns")
    rng = np.random.default_rng(0)
    learn(rng.integers(0, 300, 20_000), "C2").save(pattern_path(directory, "C2"))
    learn(Zipf(5_000, 1.1).ranks(rng.random(20_000)), "C10").save(pattern_path(directory, "C10"))
    return directory


def ids_of(config: RandomConfig, rank: int = 0, num_ranks: int = 1, start_step: int = 0) -> list[list[list[int]]]:
    """The ids of each batch, feature by feature."""
    batches = RandomReader(
        config, global_batch_size=48, seed=1, rank=rank, num_ranks=num_ranks, num_epochs=1, start_step=start_step
    )
    return [[bag.values().tolist() for bag in batch.sparse.to_dict().values()] for batch in batches]


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("size", [3, 4096, 200_000])
def test_zipf_ranks_come_as_often_as_the_law_says(size, exponent):
    ranks = Zipf(size, exponent).ranks(EVEN)
    chances = np.arange(1, size + 1) ** -exponent
    expected = np.cumsum(chances / chances.sum())
    found = np.cumsum(np.bincount(ranks, minlength=size)) / len(EVEN)
    # A million even steps: each cumulative count is right but for the rounding of one step, and the tail's one in ten million.
    assert np.abs(found - expected).max() < 3e-6
    assert (ranks.min(), ranks.max() < size) == (0, True)


def test_zipf_of_a_huge_table_stays_inside_it_and_needs_no_list_of_its_rows():
    law = Zipf(2**31 - 1, 0.9)
    assert law.ranks(np.array([0.0, np.nextafter(1, 0)])).tolist() == [0, 2**31 - 2]


def test_pareto_rows_come_as_often_as_the_law_says_and_stay_inside():
    rows = pareto_rows(EVEN, 10**9, 0.8)
    # P(x < k) = 1 - (1 + k) ** -shape; folding a tail of one in sixteen million moves nothing.
    for k in (1, 10, 1000):
        assert np.mean(rows < k) == pytest.approx(1 - (1 + k) ** -0.8, abs=2e-6)
    assert pareto_rows(np.append(EVEN, np.nextafter(1, 0)), 7, 0.05).max() == 6


@pytest.mark.parametrize("distribution", ["zipf", "pareto"])
def test_larger_skew_gives_more_to_the_first_rows(distribution):
    shares = []
    for skew in (0.5, 1.0, 1.5):
        config = RandomConfig(
            num_dense=0, table_sizes=(10_000,), ids_distribution=distribution, ids_skew=skew, num_rows=9600
        )
        shares.append(np.mean(np.concatenate([batch[0] for batch in ids_of(config)]) < 10))
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("settings", [{}, {"num_lookups": (5, 3), "fixed_num_lookups": False}])
@pytest.mark.parametrize("distribution", ["zipf", "trace"])
def test_skewed_batches_are_the_same_for_every_number_of_ranks_and_after_a_restart(patterns, distribution, settings):
    trace = TraceConfig(patterns=str(patterns) if distribution == "trace" else None)
    sizes = {} if distribution == "trace" else {"table_sizes": (300, 5_000)}
    config = RandomConfig(ids_distribution=distribution, trace=trace, num_rows=480, trace_rows=100, **sizes, **settings)
    whole = ids_of(config)
    shares = [ids_of(config, rank, 2) for rank in range(2)]
    assert [[a + b for a, b in zip(*step, strict=True)] for step in zip(*shares, strict=True)] == whole
    assert ids_of(config, start_step=7) == whole[7:]


def test_traced_rows_are_accessed_as_the_patterns_say(patterns):
    config = RandomConfig(ids_distribution="trace", trace=TraceConfig(patterns=str(patterns)), num_rows=20_016)
    trace = np.concatenate([batch[1] for batch in ids_of(config)])[:20_000]
    sizes = np.array([10, 100, 1000])
    pattern = load_patterns(patterns)[1]
    assert hit_rates(stack_distances(trace), sizes) == pytest.approx(pattern.hit_rates(sizes), abs=0.01)


def test_tables_are_those_of_the_patterns_by_their_names(patterns):
    schema = random_schema(RandomConfig(ids_distribution="trace", trace=TraceConfig(patterns=str(patterns))))
    assert [feature.name for feature in schema.sparse] == ["C2", "C10"]
    assert [feature.num_embeddings for feature in schema.sparse] == [p.num_ids for p in load_patterns(patterns)]


@pytest.mark.parametrize("distribution", ["zipf", "trace"])
def test_pooling_factor_of_skewed_bags_is_what_they_hold(patterns, distribution):
    trace = TraceConfig(patterns=str(patterns) if distribution == "trace" else None)
    config = RandomConfig(
        num_dense=0,
        table_sizes=(300, 5_000),
        ids_distribution=distribution,
        trace=trace,
        num_lookups=(8,),
        num_rows=4_800,
        trace_rows=5_000,
    )
    found = [np.mean([len(batch[f]) / 48 for batch in ids_of(config)]) for f in (0, 1)]
    assert [feature.pooling_factor for feature in random_schema(config).sparse] == pytest.approx(found, rel=0.05)


def test_evaluation_rows_are_drawn_from_the_traces_too(patterns):
    config = RandomConfig(ids_distribution="trace", trace=TraceConfig(patterns=str(patterns)), num_rows=100)
    (batch,) = RandomEvalReader(config, split="val", global_batch_size=16, seed=1, rank=0, num_ranks=1, num_rows=10)
    ids = batch.sparse["C2"].values()
    assert ids[10:].tolist() == [0] * 6
    assert ids.max() > 0


def test_trace_file_holds_a_column_for_each_pattern_and_the_same_bytes_again(patterns, tmp_path):
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file in files:
        write_traces(
            GenerateConfig(kind="trace", output=str(file), num_rows=999, trace=TraceConfig(patterns=str(patterns)))
        )
    assert files[0].read_bytes() == files[1].read_bytes()
    table = pq.read_table(files[0])
    expected = traces_of(TraceConfig(patterns=str(patterns)), 999, 0)
    assert table.to_pydict() == {name: ids.tolist() for name, ids in expected.items()}


def test_features_are_read_from_raw_text_and_parquet_alike(tmp_path):
    generate(GenerateConfig(output=str(tmp_path / "rows.tsv"), num_rows=2_000))
    raw = dict(feature_ids(str(tmp_path / "rows.tsv"), max_rows=1_500))
    texts = [line.split("\t") for line in (tmp_path / "rows.tsv").read_text().splitlines()]
    pq.write_table(pa.table({"C3": [row[16] or None for row in texts]}), tmp_path / "rows.parquet")
    (stored,) = feature_ids(str(tmp_path / "rows.parquet"), ["C3"], max_rows=1_500)
    assert len(raw) == 26
    assert stored[0] == "C3"
    assert learn(raw["C3"], "C3") == learn(stored[1], "C3")


def test_lists_are_read_one_after_the_other(tmp_path):
    pq.write_table(pa.table({"genres": [[1, 2], [], None, [7]]}), tmp_path / "rows.parquet")
    assert [ids.tolist() for _, ids in feature_ids(str(tmp_path / "rows.parquet"), ["genres"], max_rows=9)] == [
        [1, 2, 7]
    ]


def test_mistakes_name_what_is_there(patterns, tmp_path):
    generate(GenerateConfig(output=str(tmp_path / "rows.tsv"), num_rows=10))
    with pytest.raises(DataError, match=r"no feature 'C33'.*C23"):
        feature_ids(str(tmp_path / "rows.tsv"), ["C33"], max_rows=10).__next__()
    with pytest.raises(DataError, match="holds no access pattern"):
        load_patterns(tmp_path)
    with pytest.raises(ConfigError, match="expected a directory of patterns"):
        RandomConfig(ids_distribution="trace")
    with pytest.raises(ConfigError, match="none otherwise"):
        RandomConfig(trace=TraceConfig(patterns=str(patterns)))
    with pytest.raises(ConfigError, match=r"for trace\.method=paper"):
        TraceConfig(padding=True)
    with pytest.raises(ConfigError, match=r"ends in \.parquet"):
        write_traces(GenerateConfig(kind="trace", output=str(tmp_path / "x.tsv")))
    with pytest.raises(ConfigError, match="has 3 numbers for 2 tables"):
        random_schema(
            RandomConfig(ids_distribution="trace", trace=TraceConfig(patterns=str(patterns)), num_lookups=(1, 2, 3))
        )
