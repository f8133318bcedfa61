import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.config import GenerateConfig
from data.errors import ConfigError, DataError
from data.generating.generator import CHUNK_ROWS, generate, scramble
from data.generating.planted import PlantedModel, scaled_cardinalities, zipf_ranks
from data.raw.raw_blocks import RawText
from data.raw.raw_rows import parse_block


def config_of(tmp_path: Path, **settings) -> GenerateConfig:
    return GenerateConfig(**{"output": str(tmp_path / "rows.tsv"), "num_rows": 3000} | settings)


def read(path: Path):
    rows = [parse_block(block) for block in RawText([path], 1 << 20)]
    assert not any(block.bad_counts for block in rows)
    return rows


def test_generated_text_has_no_bad_line_and_every_row_has_its_probability(tmp_path):
    (file,) = generate(config_of(tmp_path, num_rows=CHUNK_ROWS + 10))
    assert sum(len(rows.labels) for rows in read(file.path)) == CHUNK_ROWS + 10
    truth = pq.read_table(file.truth_path)
    assert truth["row_id"].to_pylist() == list(range(CHUNK_ROWS + 10))
    labels = np.concatenate([rows.labels for rows in read(file.path)])
    np.testing.assert_array_equal(labels, truth["label"].to_numpy())


def test_same_settings_give_the_same_bytes_plain_and_packed(tmp_path):
    config = config_of(tmp_path, output=str(tmp_path / "a.tsv.gz"))
    (first,) = generate(config)
    (again,) = generate(replace(config, output=str(tmp_path / "b.tsv.gz")))
    (plain,) = generate(replace(config, output=str(tmp_path / "c.tsv")))
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.truth_path.read_bytes() == again.truth_path.read_bytes()
    assert gzip.decompress(first.path.read_bytes()) == plain.path.read_bytes()


def test_another_seed_gives_other_rows(tmp_path):
    (first,) = generate(config_of(tmp_path, seed=1))
    text = first.path.read_bytes()
    (other,) = generate(config_of(tmp_path, seed=2))
    assert text != other.path.read_bytes()


def test_longer_file_begins_with_the_chunks_of_the_shorter_one(tmp_path):
    (short,) = generate(config_of(tmp_path, num_rows=CHUNK_ROWS))
    text = short.path.read_bytes()
    (long,) = generate(config_of(tmp_path, num_rows=CHUNK_ROWS + 5))
    assert long.path.read_bytes().startswith(text)


@pytest.mark.parametrize(
    ("settings", "rate"), [({}, 0.256), ({"preset": "terabyte"}, 0.034), ({"base_rate": 0.5}, 0.5)]
)
def test_click_rate_is_the_one_asked_for(settings, rate):
    rows = PlantedModel(GenerateConfig(**settings)).draw(np.random.default_rng(0), 50_000)
    # Four standard errors of a mean of 50,000 clicks, and as much for the calibration sample.
    assert rows.labels.mean() == pytest.approx(rate, abs=8 * (rate * (1 - rate) / 50_000) ** 0.5)


def test_clicks_follow_the_written_probabilities():
    rows = PlantedModel(GenerateConfig()).draw(np.random.default_rng(0), 100_000)
    bins = np.digitize(rows.probabilities, [0.1, 0.2, 0.3, 0.5])
    for b in range(5):
        inside = bins == b
        expected = rows.probabilities[inside].mean()
        error = (expected * (1 - expected) / inside.sum()) ** 0.5
        assert abs(rows.labels[inside].mean() - expected) < 4 * error


def test_without_signal_every_row_has_the_same_probability():
    rows = PlantedModel(GenerateConfig(signal=0)).draw(np.random.default_rng(0), 100)
    np.testing.assert_allclose(rows.probabilities, 0.256, rtol=1e-9)


def test_ids_of_different_features_never_meet(tmp_path):
    (file,) = generate(config_of(tmp_path))
    rows = read(file.path)[0]
    seen = [set(ids[~missing].tolist()) for ids, missing in zip(rows.ids, rows.id_missing, strict=True)]
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_scramble_is_a_bijection_on_a_range():
    assert len(np.unique(scramble(np.arange(1 << 20)))) == 1 << 20


def test_zipf_ranks_follow_the_power_law():
    ranks = zipf_ranks((np.arange(1_000_000) + 0.5) / 1_000_000, 1000, 1.0)
    assert ranks.min() == 0
    assert ranks.max() == 999
    # Continuous Zipf with exponent 1: P(rank r) = log((r + 2) / (r + 1)) / log(1001).
    for rank in (0, 1, 9):
        assert np.mean(ranks == rank) == pytest.approx(np.log((rank + 2) / (rank + 1)) / np.log(1001), abs=2e-6)


def test_cardinalities_scale_but_small_ones_stay():
    sizes = scaled_cardinalities(0.01)
    assert sizes[2] == 101312
    assert sizes[5] == 24
    assert sizes[0] == 1000
    assert scaled_cardinalities(1.0)[2] == 10131227


def test_days_make_a_folder_whose_old_days_go(tmp_path):
    generate(config_of(tmp_path, output=str(tmp_path / "days"), num_days=4))
    files = generate(config_of(tmp_path, output=str(tmp_path / "days"), num_days=3, num_rows=100))
    assert sorted(path.name for path in (tmp_path / "days").glob("day_?")) == ["day_0", "day_1", "day_2"]
    assert [file.path.read_bytes().count(b"\n") for file in files] == [33, 33, 34]
    assert files[0].path.read_bytes()[:100] != files[1].path.read_bytes()[:100]


def test_refuses_to_replace_what_was_not_generated(tmp_path):
    (tmp_path / "rows.tsv").write_text("mine\n")
    with pytest.raises(DataError, match="was not generated"):
        generate(config_of(tmp_path))
    assert (tmp_path / "rows.tsv").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_rows": 0}, "num_rows is 0"),
        ({"base_rate": 1.5}, "base_rate is 1.5"),
        ({"cardinality_scale": 0.0}, "cardinality_scale"),
        ({"num_days": 5, "num_rows": 4}, "every day needs a row"),
        ({"signal": float("nan")}, "signal is nan"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        GenerateConfig(**settings)


def test_popularity_moves_on_by_the_day_in_large_features_alone():
    model = PlantedModel(GenerateConfig(daily_drift=50))
    days = [model.draw(np.random.default_rng(0), 20_000, day) for day in (0, 3)]
    for feature in (0, 2, 25):
        commonest = [int(np.bincount(rows.ranks[feature]).argmax()) for rows in days]
        assert commonest == [0, 150]
    for feature in (4, 5, 8):
        np.testing.assert_array_equal(days[0].ranks[feature], days[1].ranks[feature])
    assert all((rows.ranks < np.array(model.cardinalities)[:, None]).all() for rows in days)


def test_later_days_are_as_learnable_as_the_first():
    model = PlantedModel(GenerateConfig(daily_drift=400))
    spread = [model.draw(np.random.default_rng(day), 50_000, day).probabilities for day in (0, 1, 7)]
    assert [each.mean() for each in spread] == pytest.approx([0.256] * 3, abs=0.03)
    assert [each.std() for each in spread] == pytest.approx([spread[0].std()] * 3, rel=0.25)


def test_an_id_keeps_the_side_it_is_on():
    model = PlantedModel(GenerateConfig(daily_drift=30, signal=3.0))
    effects = []
    for day in (0, 1):
        rows = model.draw(np.random.default_rng(day), 200_000, day)
        logits = np.log(rows.probabilities / (1 - rows.probabilities))
        effects.append([logits[rows.ranks[2] == each].mean() - logits.mean() for each in range(30, 60)])
    # Ranks 31 to 60 of the first day are the first 30 of the second, and so the stronger there.
    assert np.corrcoef(effects)[0, 1] > 0.6


def test_days_with_drift_are_written_as_drawn(tmp_path):
    files = generate(config_of(tmp_path, output=str(tmp_path / "days"), num_days=2, daily_drift=100, num_rows=4000))
    top = [np.unique(read(file.path)[0].ids[2], return_counts=True) for file in files]
    commonest = [ids[counts.argmax()] for ids, counts in top]
    assert commonest[0] != commonest[1]


def test_leaked_label_tells_rows_apart_where_the_truth_does_not(tmp_path):
    (file,) = generate(config_of(tmp_path, trap="leak"))
    rows = read(file.path)[0]
    np.testing.assert_array_equal(rows.integers[12], rows.labels * 9)
    (plain,) = generate(config_of(tmp_path, output=str(tmp_path / "plain.tsv")))
    assert pq.read_table(file.truth_path) == pq.read_table(plain.truth_path)


def test_constant_integers_are_all_one_and_none_is_missing(tmp_path):
    (file,) = generate(config_of(tmp_path, trap="constant"))
    rows = read(file.path)[0]
    assert (rows.integers.min(), rows.integers.max(), rows.integer_missing.any()) == (1, 1, False)


def test_shuffled_labels_are_as_many_and_follow_nothing(tmp_path):
    (file,) = generate(config_of(tmp_path, trap="shuffled", num_rows=20_000))
    (plain,) = generate(config_of(tmp_path, output=str(tmp_path / "plain.tsv"), num_rows=20_000))
    shuffled, planted = (pq.read_table(each.truth_path) for each in (file, plain))
    labels, before = shuffled["label"].to_numpy(), planted["label"].to_numpy()
    assert labels.sum() == before.sum()
    assert np.ptp(shuffled["probability"].to_numpy()) == 0
    # Under independence a correlation of 20,000 pairs has a standard deviation of 0.007.
    assert abs(np.corrcoef(labels, planted["probability"].to_numpy())[0, 1]) < 0.03
    assert np.corrcoef(before, planted["probability"].to_numpy())[0, 1] > 0.2
