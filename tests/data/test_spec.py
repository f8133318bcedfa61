from pathlib import Path

import pytest
import yaml

from data.errors import ConfigError
from data.spec.load import load_spec, spec_of

MINIMAL = {"format": "csv", "label": "click", "sparse": ["user"]}


def spec_with(**changes):
    return spec_of({**MINIMAL, **changes})


def test_names_stand_for_features_with_the_usual_settings() -> None:
    spec = spec_of(MINIMAL)
    assert (spec.format.separator, spec.format.quote_character, spec.label.column) == (",", '"', "click")
    assert [(each.name, each.column, each.ids) for each in spec.sparse] == [("user", "user", "vocabulary")]
    assert spec.columns == ("click", "user")


def test_ranges_of_columns_become_features_with_settings_of_their_own() -> None:
    entry = {
        "columns": ["C8..C10"],
        "type": "hex",
        "ids": "hash",
        "num_rows": [5, 6, 7],
        "multi_hot": {"size": [3, 1, 2]},
    }
    sparse = spec_with(sparse=[entry]).sparse
    assert [(each.name, each.num_rows, each.multi_hot.size) for each in sparse] == [
        ("C8", 5, 3),
        ("C9", 6, 1),
        ("C10", 7, 2),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lable": "x"}, "lable is not known; known, nearest first: label"),
        ({"label": {"colum": "x"}}, "label.colum is not known; known, nearest first: column"),
        ({"format": {"kind": "excel"}}, "format.kind is 'excel'; expected one of csv, tsv, parquet"),
        ({"format": {"kind": "csv", "header": False}}, "must name all columns"),
        ({"format": {"kind": "csv", "header": False, "columns": ["a", "a"]}}, "'a' is there twice"),
        ({"format": {"kind": "csv", "delimiter": "::"}}, "format.delimiter is '::'; expected one ASCII character"),
        ({"sparse": []}, "no sparse feature"),
        ({"sparse": ["user", "user"]}, "'user' is there twice"),
        ({"sparse": ["label"]}, "cannot be named 'label'"),
        ({"sparse": [{"column": "a", "ids": "hash"}]}, "ids: hash needs num_rows"),
        ({"sparse": [{"column": "a", "num_rows": 5}]}, "num_rows is for hash and ready"),
        ({"sparse": [{"column": "a", "ids": "ready", "num_rows": 5}]}, "takes type: integer"),
        ({"sparse": [{"column": "a", "ids": "hash", "num_rows": 1}]}, "expected 2"),
        ({"sparse": [{"column": "a", "weights": "w"}]}, "are for lists"),
        ({"sparse": [{"column": "a", "type": "number"}]}, "belong together"),
        ({"sparse": [{"column": "a", "type": "integer", "default": "x"}]}, "expected a text that reads as integer"),
        ({"sparse": [{"columns": ["a", "b"], "min_count": [1]}]}, "has 1 numbers for 2 columns"),
        ({"sparse": [{"column": "a", "table": "t"}, {"column": "b", "table": "t", "min_count": 3}]}, "share table 't'"),
        ({"dense": [{"column": "x", "transforms": ["standardise", "log"]}]}, "standardise must be the last"),
        ({"dense": [{"column": "x", "transforms": [{"clip": [5, 1]}]}]}, "low 5 above high 1"),
        ({"dense": [{"column": "x", "transforms": ["logg"]}]}, "expected one of log, clip, standardise"),
        ({"dense": [{"column": "x", "default": "a"}]}, "expected a number"),
        ({"dense": "x"}, "expected a list of features"),
    ],
)
def test_mistake_in_a_spec_is_named_with_its_place(changes, words) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        spec_with(**changes)


def test_spec_that_is_no_yaml_or_not_there_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        load_spec(tmp_path / "absent.yaml")
    for text in ("a: [", "just words", "- 1"):
        (tmp_path / "spec.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"spec\.yaml"):
            load_spec(tmp_path / "spec.yaml")


def test_every_spec_in_the_repository_can_be_loaded() -> None:
    folder = Path(__file__).resolve().parents[2] / "pipeline/configs/specs"
    paths = sorted(folder.glob("*.yaml"))
    assert len(paths) >= 3
    for path in paths:
        assert load_spec(path).sparse, path
        assert yaml.safe_load(path.read_text())
