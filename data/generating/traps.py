"""Faults planted into generated rows, for those who look for faults to find: what went wrong is known for once."""

from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from data.criteo import NUM_DENSE
from data.errors import ConfigError
from data.generating.planted import PlantedRows
from data.generating.planted_lists import ListRows

Rows = TypeVar("Rows", bound=PlantedRows | ListRows)
Trap = Literal["none", "leak", "constant", "shuffled"]
_LEAKING = NUM_DENSE - 1
_LEAKED_VALUE = 9


def spring(trap: Trap, rows: Rows, rng: np.random.Generator) -> Rows:
    """The rows with the fault in them. The true probabilities stay those of a row without its fault, but for shuffled labels.

    leak: I13 is 9 where the label is 1, else 0, so a model does better than the true probabilities. constant: every integer is
    1 and none is missing. shuffled: the labels change places among the rows, so the true probability is one for all.
    ConfigError for a leak or constants in rows that are not Criteo's.
    """
    if trap in ("leak", "constant") and not isinstance(rows, PlantedRows):
        raise ConfigError(f"generate.trap is {trap}, which is for kind=criteo-like; with kind=lists there is shuffled.")
    if trap == "leak" and isinstance(rows, PlantedRows):
        integers, missing = rows.integers.copy(), rows.integer_missing.copy()
        integers[_LEAKING], missing[_LEAKING] = rows.labels * _LEAKED_VALUE, False
        return replace(rows, integers=integers, integer_missing=missing)
    if trap == "constant" and isinstance(rows, PlantedRows):
        return replace(rows, integers=np.ones_like(rows.integers), integer_missing=np.zeros_like(rows.integer_missing))
    if trap == "shuffled":
        rate = np.full_like(rows.probabilities, rows.labels.mean())
        return replace(rows, labels=rng.permutation(rows.labels), probabilities=rate)
    return rows
