"""Scored rows as they are stored: row_id, label, score, and for further targets label_<name> and score_<name>.

Legend: n rows, T targets.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.schema import target_column


def scores_schema(targets: Sequence[str] = (), *, has_labels: bool = True) -> pa.Schema:
    """The columns; labels and scores are float32, labels null where missing."""
    columns = {"row_id": pa.int64()}
    for label, score in _columns(targets):
        columns |= {label: pa.float32()} if has_labels else {}
        columns[score] = pa.float32()
    return pa.schema(columns)


def scores_table(row_ids: NDArray, labels: NDArray | None, scores: NDArray, targets: Sequence[str] = ()) -> pa.Table:
    """The rows: ids [n]; labels [n, T], NaN where missing, or none at all; scores [n, T]. With one target T may be left out."""
    shape = (len(row_ids), max(1, len(targets)))
    scores = scores.reshape(shape)
    arrays: list[pa.Array] = [pa.array(row_ids, pa.int64())]
    for t in range(scores.shape[1]):
        if labels is not None:
            column = labels.reshape(shape)[:, t].astype(np.float32)
            arrays.append(pa.array(column, mask=np.isnan(column)))
        arrays.append(pa.array(np.ascontiguousarray(scores[:, t]), pa.float32()))
    return pa.Table.from_arrays(arrays, schema=scores_schema(targets, has_labels=labels is not None))


def score_column(target: str) -> str:
    """The column of a further target's score."""
    return f"score_{target}"


def _columns(targets: Sequence[str]) -> list[tuple[str, str]]:
    return [("label", "score"), *((target_column(name), score_column(name)) for name in targets[1:])]
