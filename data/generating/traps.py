"""Faults planted into generated rows, for those who look for faults to find: what went wrong is known for once."""

from dataclasses import replace
from typing import Literal

import numpy as np

from data.criteo import NUM_DENSE
from data.generating.planted import PlantedRows

Trap = Literal["none", "leak", "constant", "shuffled"]
_LEAKING = NUM_DENSE - 1
_LEAKED_VALUE = 9


def spring(trap: Trap, rows: PlantedRows, rng: np.random.Generator) -> PlantedRows:
    """The rows with the fault in them. The true probabilities stay those of a row without its fault, but for shuffled labels.

    leak: I13 is 9 where the label is 1, else 0, so a model does better than the true probabilities. constant: every integer is
    1 and none is missing. shuffled: the labels change places among the rows, so the true probability is one for all.
    """
    if trap == "leak":
        integers, missing = rows.integers.copy(), rows.integer_missing.copy()
        integers[_LEAKING], missing[_LEAKING] = rows.labels * _LEAKED_VALUE, False
        return replace(rows, integers=integers, integer_missing=missing)
    if trap == "constant":
        return replace(rows, integers=np.ones_like(rows.integers), integer_missing=np.zeros_like(rows.integer_missing))
    if trap == "shuffled":
        rate = np.full_like(rows.probabilities, rows.labels.mean())
        return replace(rows, labels=rng.permutation(rows.labels), probabilities=rate)
    return rows
