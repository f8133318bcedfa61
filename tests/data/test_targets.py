"""Several targets in one dataset: read from a spec, stored beside the first, missing where they may be, in every batch."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data.config import PrepareConfig, SplitConfig
from data.errors import ConfigError, DataError
from data.manifest import Manifest
from data.preparing.fitted_files import spec_of_settings
from data.preparing.prepare import prepare
from data.reading.reader import EvalReader, TrainReader
from data.reading.verifying import verify
from data.spec.load import load_spec, spec_of

FEATURES = "sparse: [{column: user, min_count: 1}, {column: tags, list: true, min_count: 1}]\n"
LABELS = "labels: [{name: click, column: clicked}, bought, {name: long, column: seconds, positive_from: 30}]\n"
SPEC = f"format: csv\n{LABELS}{FEATURES}"
HEADER = "clicked,bought,seconds,user,tags\n"
ROWS = "1,0,45,u1,a|b\n0,,,u2,\n1,1,12,u1,b\n1,,30,u2,a\n"
ALL_TRAIN = SplitConfig(val_fraction=0.0, test_fraction=0.0)


def prepared(tmp_path: Path, text: str, spec: str = SPEC, **settings) -> Path:
    (tmp_path / "rows.csv").write_text(text)
    (tmp_path / "spec.yaml").write_text(spec)
    config = PrepareConfig(
        source=str(tmp_path / "rows.csv"),
        spec=str(tmp_path / "spec.yaml"),
        output=str(tmp_path / "out"),
        **({"split": ALL_TRAIN, "show_progress": False, "max_bad_fraction": 0.9} | settings),
    )
    prepare(config)
    return tmp_path / "out"


def test_further_labels_are_stored_beside_the_first_and_null_where_missing(tmp_path: Path) -> None:
    output = prepared(tmp_path, HEADER + ROWS)
    manifest = Manifest.load(output)
    columns = pq.read_table(output / "train/part-00000.parquet").to_pydict()

    assert manifest.schema.targets == ("click", "bought", "long")
    assert columns["label"] == [1, 0, 1, 1]
    assert columns["label_bought"] == [0, None, 1, None]
    assert columns["label_long"] == [1, None, 0, 1]
    assert manifest.splits["train"].num_positives == 3
    assert spec_of_settings(manifest.settings) == load_spec(tmp_path / "spec.yaml")
    verify(output, manifest)


def test_rows_with_labels_other_than_0_and_1_and_without_the_first_are_bad(tmp_path: Path) -> None:
    output = prepared(tmp_path, f"{HEADER}{ROWS}1,2,3,u1,a\n,1,3,u1,a\n1,x,3,u1,a\n")
    manifest = Manifest.load(output)

    assert manifest.bad_lines == {"bad label": 3}
    assert manifest.splits["train"].num_rows == 4


def test_batches_carry_all_labels_nan_where_missing(tmp_path: Path) -> None:
    output = prepared(tmp_path, HEADER + ROWS * 60, row_group_rows=32, rows_per_part=128)
    expected = np.array([[1, 0, 1], [0, np.nan, np.nan], [1, 1, 0], [1, np.nan, 1]] * 60, np.float32)

    batches = EvalReader(output, split="train", global_batch_size=100, rank=0, num_ranks=1)
    labels = torch.cat([batch.labels[batch.row_ids >= 0] for batch in batches]).numpy()
    np.testing.assert_array_equal(labels, expected)
    shuffled = TrainReader(output, global_batch_size=240, seed=1, rank=1, num_ranks=2, num_epochs=1)
    (batch,) = list(shuffled)
    np.testing.assert_array_equal(batch.labels.numpy(), expected[batch.row_ids.numpy()])
    assert batch.labels.shape == (120, 3)


def test_a_set_of_one_label_says_nothing_of_targets(tmp_path: Path) -> None:
    output = prepared(tmp_path, HEADER + ROWS, f"format: csv\nlabel: clicked\n{FEATURES}")
    assert "target" not in (output / "manifest.json").read_text()
    assert "other_labels" not in (output / "manifest.json").read_text()
    assert Manifest.load(output).settings["spec"]["label"] == {"column": "clicked", "positive_from": None}


def test_negatives_of_several_targets_are_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="targets click, bought, long: leaving out negatives of one would bias"):
        prepared(tmp_path, HEADER + ROWS, negative_sampling_rate=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "clicked"}, "either label, or labels for several targets, found both"),
        ({"labels": []}, r"labels is \[\]; expected a list of targets"),
        ({"labels": ["a", "a"]}, "names of labels: 'a' is there twice"),
        ({"labels": ["a", {"colum": "b"}]}, r"labels\[1\].colum is not known; known, nearest first: column"),
        ({"labels": ["a", "user"], "sparse": ["label_user"]}, "names of features: 'label_user' is there twice"),
    ],
)
def test_specs_of_targets_that_make_no_sense_are_refused(change: dict, message: str) -> None:
    values = {"format": "csv", "labels": ["clicked", "bought"], "sparse": ["user"]} | change
    with pytest.raises(ConfigError, match=message):
        spec_of(values)


def test_a_damaged_label_is_found(tmp_path: Path) -> None:
    output = prepared(tmp_path, HEADER + ROWS)
    part = output / "train/part-00000.parquet"
    table = pq.read_table(part)
    place = table.schema.get_field_index("label_bought")
    damaged = table.set_column(place, table.schema.field(place), pa.array([0, 7, 1, 0], pa.int8()))
    pq.write_table(damaged, part, compression="lz4", use_dictionary=False, write_page_checksum=True)
    with pytest.raises(DataError, match=r"'label_bought' in row group 0 of .* holds other labels than 0, 1 and null"):
        verify(output, Manifest.load(output))
