"""What preparing fitted, kept as files: the spec, the moments, the id maps. From these any later row is transformed alike.

    moments.json             mean and deviation of each standardised feature (prepared datasets with such features)
    transforms.json          spec and moments together (copies, such as in a bundle)
    id_maps/<table>.parquet  id, row, count

Numbers survive the JSON bit for bit, and an id map read back gives every id the row that it had.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.manifest import Manifest
from data.preparing.dense_values import Moments
from data.preparing.id_rows import IdMap
from data.preparing.sparse_values import RowLookup, lookup_without_counts
from data.preparing.spec_recipe import ID_MAPS, MOMENTS, FittedSpec
from data.raw.keys import text_keys
from data.schema import Schema
from data.spec.criteo import criteo_spec
from data.spec.feature_spec import (
    DenseSpec,
    FeatureSpec,
    FormatSpec,
    LabelSpec,
    MultiHotSpec,
    SparseSpec,
    TimestampSpec,
    Transform,
    plain_spec,
)

TRANSFORMS = "transforms.json"


def fitted_of_prepared(directory: Path, manifest: Manifest) -> FittedSpec:
    """The transforms of a prepared dataset. DataError where a file of them is missing, or was made for other tables."""
    spec = spec_of_settings(manifest.settings)
    return _fitted(spec, _moments_of_prepared(directory, spec), directory, manifest.schema)


def load_fitted(directory: Path, schema: Schema) -> FittedSpec:
    """The transforms that `save_fitted` put into the directory; DataError as above."""
    path = directory / TRANSFORMS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        spec = _spec_from_plain(kept["spec"])
        moments = {name: Moments(**each) for name, each in kept["moments"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged ({error!r}): export the bundle again.") from error
    return _fitted(spec, moments, directory, schema)


def save_fitted(fitted: FittedSpec, source: Path, directory: Path) -> None:
    """Put the transforms into the directory; `source` is where they were read from, for the id maps."""
    kept = {"spec": plain_spec(fitted.spec), "moments": {name: asdict(each) for name, each in fitted.moments.items()}}
    (directory / TRANSFORMS).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (directory / ID_MAPS).mkdir()
    for table in _tables_with_maps(fitted.spec):
        shutil.copyfile(source / ID_MAPS / f"{table}.parquet", directory / ID_MAPS / f"{table}.parquet")


def spec_of_settings(settings: Mapping[str, Any]) -> FeatureSpec:
    """The feature spec behind the settings of a manifest: the one that it names, or Criteo's."""
    if "spec" in settings:
        return _spec_from_plain(settings["spec"])
    sizes = tuple(settings.get("table_sizes", ()))
    return criteo_spec(
        settings["ids"], settings.get("min_count", 1), sizes, settings.get("dense_missing_indicator", False)
    )


def _moments_of_prepared(directory: Path, spec: FeatureSpec) -> dict[str, Moments]:
    wanted = [each.name for each in spec.dense if each.is_standardised]
    if not wanted:
        return {}
    path = directory / MOMENTS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: Moments(**each) for name, each in kept.items()}
    except FileNotFoundError as error:
        raise DataError(
            f"{directory} holds no {MOMENTS}, without which {', '.join(wanted)} cannot be standardised as in training: it was"
            " prepared by an older version. Prepare it again (force=true)."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}): prepare the dataset again (force=true).") from error


def _fitted(spec: FeatureSpec, moments: Mapping[str, Moments], directory: Path, schema: Schema) -> FittedSpec:
    maps = {table: _id_map(directory, spec, table) for table in _tables_with_maps(spec)}
    lookups: dict[str, RowLookup] = {
        each.name: maps[each.table_name] if each.ids == "vocabulary" else lookup_without_counts(each)
        for each in spec.sparse
    }
    for feature in schema.sparse:
        found = lookups[feature.name].num_rows if feature.name in lookups else 0
        if found != feature.num_embeddings:
            raise DataError(
                f"{directory}: feature {feature.name!r} maps to {found} rows, its table has {feature.num_embeddings}. The id"
                " maps belong to other data: prepare the dataset, or export the bundle, again."
            )
    return FittedSpec(spec, lookups, moments, {})


def _tables_with_maps(spec: FeatureSpec) -> list[str]:
    return list(dict.fromkeys(each.table_name for each in spec.sparse if each.ids == "vocabulary"))


def _id_map(directory: Path, spec: FeatureSpec, table: str) -> IdMap:
    path = directory / ID_MAPS / f"{table}.parquet"
    try:
        stored = pq.read_table(path)
        ids, rows = stored["id"].combine_chunks(), stored["row"].to_numpy()
        id_map = IdMap(_keys(ids), stored["count"].to_numpy())
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read ({error}): it holds the table rows of ids. Prepare the dataset again (force=true)."
        ) from error
    if not np.array_equal(id_map.rows(_keys(ids), np.zeros(len(ids), dtype=bool)), rows):
        raise DataError(f"{path} was altered: its ids are not in the order of their counts. Prepare the dataset again.")
    return id_map


def _keys(ids: Any) -> np.ndarray:
    """uint32 or uint64: what ids of a map are looked up by."""
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        texts = ids.cast(pa.string())
        return text_keys(pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts)
    values = ids.to_numpy(zero_copy_only=False)
    return values.view(np.uint64) if values.dtype == np.int64 else values


def _spec_from_plain(plain: Mapping[str, Any]) -> FeatureSpec:
    timestamp = plain["timestamp"]
    return FeatureSpec(
        **{
            **plain,
            "format": FormatSpec(**_tupled(plain["format"])),
            "label": LabelSpec(**plain["label"]),
            "other_labels": tuple(LabelSpec(**each) for each in plain.get("other_labels", ())),
            "timestamp": None if timestamp is None else TimestampSpec(**timestamp),
            "dense": tuple(_dense_from_plain(each) for each in plain["dense"]),
            "sparse": tuple(_sparse_from_plain(each) for each in plain["sparse"]),
        }
    )


def _dense_from_plain(plain: Mapping[str, Any]) -> DenseSpec:
    return DenseSpec(**{**plain, "transforms": tuple(Transform(**each) for each in plain["transforms"])})


def _sparse_from_plain(plain: Mapping[str, Any]) -> SparseSpec:
    multi_hot = plain["multi_hot"]
    return SparseSpec(**{**_tupled(plain), "multi_hot": None if multi_hot is None else MultiHotSpec(**multi_hot)})


def _tupled(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
