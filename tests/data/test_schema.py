import json
from pathlib import Path

import pytest

from data.errors import DataError
from data.manifest import Manifest
from data.schema import Schema, SparseFeature


def test_features_without_a_table_of_another_name_have_their_own() -> None:
    features = (
        SparseFeature(name="liked", num_embeddings=9, table="movie"),
        SparseFeature(name="user", num_embeddings=5),
    )
    schema = Schema(dense=(), sparse=(*features, SparseFeature(name="seen", num_embeddings=9, table="movie")))
    assert {table: [f.name for f in found] for table, found in schema.features_of_tables.items()} == {
        "movie": ["liked", "seen"],
        "user": ["user"],
    }


def test_features_that_share_a_table_agree_on_its_rows() -> None:
    liked = SparseFeature(name="liked", num_embeddings=9, table="movie")
    with pytest.raises(DataError, match="'liked' and 'seen' share table 'movie', but expect 9 and 8 rows"):
        Schema(dense=(), sparse=(liked, SparseFeature(name="seen", num_embeddings=8, table="movie")))


def test_manifest_written_before_lists_were_known_is_still_read(write_dataset) -> None:
    path: Path = write_dataset(100) / "manifest.json"
    values = json.loads(path.read_text()) | {"version": 1}
    known = ("name", "num_embeddings", "pooling_factor")
    values["schema"]["sparse"] = [{key: feature[key] for key in known} for feature in values["schema"]["sparse"]]
    path.write_text(json.dumps(values))
    schema = Manifest.load(path.parent).schema
    assert schema.is_one_hot
    assert not schema.is_weighted
