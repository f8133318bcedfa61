"""Generated rows with lists and weights: the text says what was drawn, and the truth is what the labels follow."""

from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from data.config import GenerateConfig, PrepareConfig
from data.errors import ConfigError
from data.generating.generator import generate
from data.generating.planted_lists import LONGEST_LIST, PlantedLists, lists_table
from data.preparing.prepare import prepare

SPEC = Path(__file__).resolve().parents[2] / "pipeline/configs/specs/planted_lists.yaml"


def config_of(**settings) -> GenerateConfig:
    return GenerateConfig(**{"kind": "lists", "num_rows": 3000, "output": "rows.csv"} | settings)


def test_lists_are_written_as_drawn_empty_ones_and_weights_included():
    rows = PlantedLists(config_of()).draw(np.random.default_rng(0), 500)
    table = lists_table(rows)
    genres = [text.split("|") if text else [] for text in table["genres"].to_pylist()]
    assert [len(each) for each in genres] == rows.genre_lengths.tolist()
    assert [name for each in genres for name in each] == [f"g{genre}" for genre in rows.genres]
    tags = [text for line in table["tags"].to_pylist() if line for text in line.split("|")]
    assert tags == [f"t{tag}:{(w + 1) / 10:.1f}" for tag, w in zip(rows.tags, rows.tag_weights, strict=True)]
    assert set(rows.genre_lengths) == set(range(LONGEST_LIST + 1))
    assert all(len(set(each)) == len(each) for each in genres)


def test_labels_follow_the_probabilities_at_the_rate_asked_for():
    rows = PlantedLists(config_of(base_rate=0.3)).draw(np.random.default_rng(3), 100_000)
    assert rows.labels.mean() == pytest.approx(0.3, abs=0.01)
    for low, high in ((0.0, 0.2), (0.2, 0.4), (0.4, 1.0)):
        inside = (rows.probabilities >= low) & (rows.probabilities < high)
        expected = rows.probabilities[inside].mean()
        assert abs(rows.labels[inside].mean() - expected) < 4 * (expected * (1 - expected) / inside.sum()) ** 0.5


def test_every_part_of_the_model_counts():
    model = PlantedLists(config_of())
    rows = model.draw(np.random.default_rng(0), 50_000)
    logits = np.log(rows.probabilities / (1 - rows.probabilities))
    # A genre's mean logit over the lists that hold it: some are well above the others.
    of_row = np.repeat(logits, rows.genre_lengths)
    means = [of_row[rows.genres == genre].mean() for genre in range(24)]
    # A tag with a large effect, light and heavy: the weight multiplies it.
    of_row, tag = np.repeat(logits, rows.tag_lengths), int(np.abs(model._tag[:20]).argmax())
    light, heavy = (
        of_row[(rows.tags == tag) & chosen].mean() for chosen in (rows.tag_weights < 2, rows.tag_weights > 7)
    )
    assert np.ptp(means) > 0.3
    assert np.sign(heavy - light) == np.sign(model._tag[tag])
    assert abs(heavy - light) > 0.4 * abs(model._tag[tag])


def test_popular_items_change_by_the_day():
    model = PlantedLists(config_of(daily_drift=25))
    days = [model.draw(np.random.default_rng(0), 5_000, day) for day in (0, 2)]
    assert [int(np.bincount(rows.items).argmax()) for rows in days] == [0, 50]


def test_generated_lists_are_prepared_by_the_shipped_spec(tmp_path):
    (file,) = generate(config_of(output=str(tmp_path / "rows.csv.gz")))
    manifest = prepare(
        PrepareConfig(source=str(file.path), spec=str(SPEC), output=str(tmp_path / "out"), show_progress=False)
    )
    assert manifest.bad_lines == {}
    assert sum(split.num_rows for split in manifest.splits.values()) == 3000
    features = {feature.name: feature for feature in manifest.schema.sparse}
    assert (features["genres"].is_list, features["tags"].weighted) == (True, True)
    # Lengths 0 to 4, all alike often: two on average.
    assert features["genres"].pooling_factor == pytest.approx(2.0, abs=0.12)
    part = pq.read_table(tmp_path / "out/train/part-00000.parquet")
    truth = pq.read_table(file.truth_path)["probability"].to_numpy()
    np.testing.assert_array_equal(part["true_probability"].to_numpy(), truth[part["row_id"].to_numpy()])


def test_days_have_a_header_each_and_the_same_settings_give_the_same_bytes(tmp_path):
    files = [generate(config_of(output=str(tmp_path / name), num_days=2)) for name in ("a", "b")]
    prepared = prepare(
        PrepareConfig(source=str(tmp_path / "a"), spec=str(SPEC), output=str(tmp_path / "out"), show_progress=False)
    )
    assert prepared.num_lines == 3000
    for first, again in zip(*files, strict=True):
        assert first.path.read_bytes() == again.path.read_bytes()
        assert pa_csv.read_csv(first.path).num_rows == 1500


def test_faults_that_are_not_for_lists_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="is for kind=criteo-like"):
        generate(config_of(output=str(tmp_path / "x.csv"), trap="leak"))
    (file,) = generate(config_of(output=str(tmp_path / "x.csv"), trap="shuffled"))
    assert np.ptp(pq.read_table(file.truth_path)["probability"].to_numpy()) == 0
