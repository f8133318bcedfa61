"""Access patterns: LRU stack distances against a stack kept by hand, and traces that are accessed as their sources are."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.generating.access_pattern import AccessPattern, bucket_edges, learn
from data.generating.planted import zipf_ranks
from data.generating.stack_distances import hit_rates, stack_distances, trace_of
from data.generating.traces import Method, generate_trace

SAMPLE = Path(__file__).resolve().parents[3] / "shared/data/criteo_kaggle_sample.tsv.gz"
NUM_ACCESSES = 50_000


def distances_by_a_stack(ids: list[int]) -> list[int]:
    """The definition itself: look the id up in a list with the last used at the end, and move it there."""
    stack: list[int] = []
    distances = []
    for each in ids:
        distances.append(len(stack) - stack.index(each) if each in stack else 0)
        stack = [other for other in stack if other != each] + [each]
    return distances


def hits_of_a_cache(ids: np.ndarray, size: int) -> int:
    cache: dict[int, None] = {}
    hits = 0
    for each in ids.tolist():
        hits += each in cache
        cache.pop(each, None)
        cache[each] = None
        if len(cache) > size:
            del cache[next(iter(cache))]
    return hits


def skewed(cardinality: int, exponent: float) -> np.ndarray:
    return zipf_ranks(np.random.default_rng(0).random(NUM_ACCESSES), cardinality, exponent)


def drifting(cardinality: int) -> np.ndarray:
    """Ids whose popular ones move on: new ids come all the time."""
    return skewed(cardinality, 1.2) + np.arange(NUM_ACCESSES) // 50


SOURCES = {
    "skewed": skewed(100_000, 1.1),
    "flat": np.random.default_rng(1).integers(0, 2_000, NUM_ACCESSES),
    "few ids": skewed(4, 0.5),
    "all seen early": skewed(1_000, 1.05),
    "drifting": drifting(10_000),
}


def largest_difference(source: np.ndarray, trace: np.ndarray) -> float:
    """Largest difference of the hit rates at ten cache sizes, from one id to all of them."""
    sizes = np.geomspace(1, len(np.unique(source)), 10).astype(np.int64)
    return float(np.abs(hit_rates(stack_distances(source), sizes) - hit_rates(stack_distances(trace), sizes)).max())


def test_distances_of_a_small_trace_worked_by_hand():
    assert stack_distances(np.array([7, 9, 7, 7, 3, 9])).tolist() == [0, 0, 2, 1, 0, 3]
    assert trace_of(np.array([0, 0, 2, 1, 0, 3])).tolist() == [0, 1, 0, 0, 2, 1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=120))
def test_distances_are_those_of_a_stack_and_lead_back_to_the_trace(ids):
    distances = stack_distances(np.array(ids, np.int64))
    assert distances.tolist() == distances_by_a_stack(ids)
    in_order_of_use = {each: number for number, each in enumerate(dict.fromkeys(ids))}
    assert trace_of(distances).tolist() == [in_order_of_use[each] for each in ids]


def test_long_trace_of_few_repeats_leads_back_to_itself():
    ids = np.concatenate([np.arange(70_000), [3, 69_999, 3]])
    assert np.array_equal(trace_of(stack_distances(ids)), ids)


def test_hit_rates_are_those_of_an_lru_cache():
    ids = skewed(300, 1.0)[:3000]
    rates = hit_rates(stack_distances(ids), np.array([1, 10, 100]))
    assert (rates * 3000).round().tolist() == [hits_of_a_cache(ids, size) for size in (1, 10, 100)]


@pytest.mark.parametrize("name", SOURCES)
def test_generated_trace_has_the_hit_rates_and_the_ids_of_its_source(name):
    source = SOURCES[name]
    pattern = learn(source, name)
    trace = generate_trace(pattern, NUM_ACCESSES, seed=1)
    assert largest_difference(source, trace) < 0.01
    assert len(np.unique(trace)) == pattern.num_ids == len(np.unique(source))


@pytest.mark.parametrize("name", SOURCES)
def test_ids_become_known_as_fast_as_in_the_source(name):
    source = SOURCES[name]
    trace = generate_trace(learn(source, name), NUM_ACCESSES, seed=1)
    seen = [np.cumsum(stack_distances(each) == 0) for each in (source, trace)]
    # 256 points of the growth are kept, joined by straight lines.
    assert np.abs(seen[0] - seen[1]).max() <= 2 + 0.005 * seen[0][-1]


@pytest.mark.parametrize("padding", [False, True])
def test_papers_method_hits_no_less_than_the_source(padding):
    # What the ids seen so far do not allow goes to smaller distances: more hits in every cache, by some points.
    for name in ("skewed", "flat"):
        trace = generate_trace(learn(SOURCES[name], name), NUM_ACCESSES, seed=1, method="paper", padding=padding)
        assert 0.02 < largest_difference(SOURCES[name], trace) < 0.15
    near = generate_trace(learn(SOURCES["drifting"], ""), NUM_ACCESSES, seed=1, method="paper", padding=padding)
    assert largest_difference(SOURCES["drifting"], near) < 0.06


def test_padding_brings_all_ids_of_a_small_table():
    pattern = learn(SOURCES["few ids"], "few ids")
    ids = {
        padding: len(np.unique(generate_trace(pattern, 2_000, seed=1, method="paper", padding=padding)))
        for padding in (False, True)
    }
    # Four new ids among 50,000 accesses: in 2,000 hardly any but the first comes, unless new ones are made likelier.
    assert ids[False] < 4
    assert ids[True] == 4


def test_without_padding_the_id_unused_for_longest_stands_for_a_new_one():
    pattern = learn(np.tile(np.arange(10), 2), "cycle")
    # Half of the accesses are new, the others have distance 10: once all ten are seen, both are the oldest id.
    trace = generate_trace(pattern, 200, seed=0, method="paper")
    assert set(stack_distances(trace[100:])[10:].tolist()) == {10}


@pytest.mark.parametrize("method", ["growth", "paper"])
def test_trace_is_a_function_of_its_seed(method: Method):
    pattern = learn(SOURCES["flat"], "flat")
    first, again, other = (generate_trace(pattern, 5_000, seed=seed, method=method) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("ids", [np.zeros(100, int), np.arange(100), np.zeros(1, int), np.repeat(np.arange(50), 3)])
def test_extreme_patterns_stay_as_they_are(ids):
    trace = generate_trace(learn(ids, "x"), len(ids), seed=0)
    assert largest_difference(ids, trace) < 0.02


def test_longer_trace_than_the_source_brings_no_id_that_the_source_had_not():
    pattern = learn(SOURCES["all seen early"], "x")
    trace = generate_trace(pattern, 4 * NUM_ACCESSES, seed=0)
    assert trace.max() == pattern.num_ids - 1


def test_pattern_comes_back_from_its_file_which_is_small_and_holds_no_id(tmp_path):
    source = SOURCES["skewed"] + 10**15
    pattern = learn(source, "C3")
    pattern.save(tmp_path / "C3.json")
    assert AccessPattern.load(tmp_path / "C3.json") == pattern
    text = (tmp_path / "C3.json").read_text()
    assert len(text) < 20_000
    assert "10000000000" not in text
    # Another naming of the ids gives the same file: nothing of them is in it.
    assert learn(np.random.default_rng(5).permutation(200_000)[SOURCES["skewed"]], "C3") == pattern


def test_buckets_tell_hit_rates_within_a_tenth_of_a_point():
    distances = stack_distances(SOURCES["skewed"])
    sizes = np.unique(np.geomspace(1, 20_000, 200).astype(np.int64))
    difference = learn(SOURCES["skewed"], "x").hit_rates(sizes) - hit_rates(distances, sizes)
    assert np.abs(difference).max() < 1e-3


def test_bucket_edges_are_single_up_to_128_and_narrow_beyond():
    edges = bucket_edges(10**6)
    assert edges[:128].tolist() == list(range(1, 129))
    assert (np.diff(edges) / edges[:-1])[128:].max() <= 1 / 64


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "{", "damaged"),
        (lambda text: text.replace('"num_accesses": 6', '"num_accesses": 7'), "do not add up"),
        (lambda text: text.replace('"version": 1', '"version": 9'), "version 9, expected 1"),
        (lambda text: "[]", "damaged"),
    ],
)
def test_damaged_pattern_is_refused(tmp_path, damage, words):
    learn(np.array([1, 2, 1, 1, 3, 2]), "x").save(tmp_path / "x.json")
    (tmp_path / "x.json").write_text(damage((tmp_path / "x.json").read_text()))
    with pytest.raises(DataError, match=words):
        AccessPattern.load(tmp_path / "x.json")


def test_feature_without_an_access_teaches_nothing():
    with pytest.raises(DataError, match="C7 holds no access"):
        learn(np.array([], np.int64), "C7")


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"the real Criteo sample is not at {SAMPLE}")
@pytest.mark.parametrize("feature", [3, 10, 15, 1, 20])
def test_real_criteo_columns_are_met_within_two_points(feature):
    with gzip.open(SAMPLE, "rt") as file:
        texts = [line.rstrip("\n").split("\t")[13 + feature] for line in file]
    source = np.unique(texts, return_inverse=True)[1]
    trace = generate_trace(learn(source, f"C{feature}"), len(source), seed=1)
    assert largest_difference(source, trace) < 0.01
