"""Rows with lists and weights, and a click model with a known truth: users, items, genres as a list, tags with weights.

    logit = bias + user + item + <latent user, latent item> + sum of genres + sum of weight * tag + curve(age)

Sums over lists are what an embedding bag pools, so a model can express all of it. Lists may be empty. Users and items are ranked
by popularity; what is drawn for one of them counts less the later its rank on the day.

Legend: n rows, m entries of the lists of n rows.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.config import GenerateConfig
from data.generating.planted import LATENT_DIMENSIONS, bias_for_rate, zipf_ranks

NUM_GENRES, NUM_TAGS = 24, 300
LONGEST_LIST = 4
# At a scale of 1; never fewer than 50 of either.
_USERS, _ITEMS, _FEWEST = 500_000, 100_000, 50
_HALF_RANK = 200.0
_CALIBRATION_ROWS = 65_536
_WEIGHTS = np.arange(1, 11) / 10
_MISSING_AGES = 0.05


@dataclass(frozen=True)
class ListRows:
    """n rows before they become text. Lists: lengths int64 [n] and entries, one row after the other, int64 [m].

    `tag_weights` are places in the ten weights 0.1, 0.2, ... 1.0.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    users: np.ndarray
    items: np.ndarray
    ages: np.ndarray
    age_missing: np.ndarray
    genre_lengths: np.ndarray
    genres: np.ndarray
    tag_lengths: np.ndarray
    tags: np.ndarray
    tag_weights: np.ndarray


class PlantedLists:
    """The planted effects for one seed: draws rows of any number, each with its true click probability."""

    def __init__(self, config: GenerateConfig) -> None:
        self.num_users, self.num_items = (
            max(_FEWEST, round(size * config.cardinality_scale)) for size in (_USERS, _ITEMS)
        )
        self._config = config
        rng = np.random.default_rng([config.seed, 0])
        self._user, self._item = rng.normal(size=self.num_users) * 0.3, rng.normal(size=self.num_items) * 0.4
        self._latent_user = rng.normal(size=(self.num_users, LATENT_DIMENSIONS)) * 0.6
        self._latent_item = rng.normal(size=(self.num_items, LATENT_DIMENSIONS)) * 0.6
        self._genre, self._tag = rng.normal(size=NUM_GENRES) * 0.35, rng.normal(size=NUM_TAGS) * 0.6
        self._bias = 0.0
        sample = self._draw_logits(np.random.default_rng([config.seed, 1]), _CALIBRATION_ROWS, 0)[1]
        self._bias = bias_for_rate(sample, config.click_rate)

    def draw(self, rng: np.random.Generator, num_rows: int, day: int = 0) -> ListRows:
        """`num_rows` rows of a day with labels drawn from their true probabilities."""
        features, logits = self._draw_logits(rng, num_rows, day)
        probabilities = 1 / (1 + np.exp(-logits))
        return ListRows(rng.random(num_rows) < probabilities, probabilities, *features)

    def _draw_logits(self, rng: np.random.Generator, n: int, day: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        shift, exponent = day * self._config.daily_drift, self._config.zipf_exponent
        user_ranks, item_ranks = (
            zipf_ranks(rng.random(n), size, exponent) for size in (self.num_users, self.num_items)
        )
        users, items = (user_ranks + shift) % self.num_users, (item_ranks + shift) % self.num_items
        ages, age_missing = rng.integers(16, 80, n), rng.random(n) < _MISSING_AGES
        genre_lengths, genres = _lists(rng, n, NUM_GENRES)
        tag_lengths, tags = _lists(rng, n, NUM_TAGS)
        tag_weights = rng.integers(0, len(_WEIGHTS), len(tags))
        user_weight, item_weight = 1 / (1 + user_ranks / _HALF_RANK), 1 / (1 + item_ranks / _HALF_RANK)
        latent = np.einsum("nk,nk->n", self._latent_user[users], self._latent_item[items])
        logits = self._user[users] * user_weight + self._item[items] * item_weight + latent * user_weight * item_weight
        logits += _sums(self._genre[genres], genre_lengths) + _sums(
            self._tag[tags] * _WEIGHTS[tag_weights], tag_lengths
        )
        logits += np.where(age_missing, 0.0, 0.4 * np.sin(ages / 12))
        features = (users, items, ages, age_missing, genre_lengths, genres, tag_lengths, tags, tag_weights)
        return features, self._bias + self._config.signal * logits


def lists_table(rows: ListRows) -> pa.Table:
    """The rows as text columns: entries of a list parted by |, a weight behind its tag after a colon."""
    weights = pa.array([f"{weight:.1f}" for weight in _WEIGHTS]).take(pa.array(rows.tag_weights))
    tags = pc.binary_join_element_wise(_named("t", rows.tags), weights, ":")  # pyright: ignore[reportAttributeAccessIssue]
    return pa.table(
        {
            "user": _named("u", rows.users),
            "item": _named("i", rows.items),
            "age": pa.array(rows.ages, mask=rows.age_missing),
            "genres": _joined(_named("g", rows.genres), rows.genre_lengths),
            "tags": _joined(tags, rows.tag_lengths),
            "clicked": rows.labels.view(np.int8),
        }
    )


def _lists(rng: np.random.Generator, num_rows: int, num_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths from 0 to the longest, and entries, the early ones more often; no list holds a value twice."""
    lengths = rng.integers(0, LONGEST_LIST + 1, num_rows)
    firsts = zipf_ranks(rng.random(num_rows), num_values, 0.8)
    steps = rng.integers(1, num_values // LONGEST_LIST, (num_rows, LONGEST_LIST)).cumsum(axis=1) - 1
    entries = (firsts[:, None] + steps - steps[:, :1]) % num_values
    return lengths, entries[np.arange(LONGEST_LIST) < lengths[:, None]]


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sum of each row's entries, 0 where there is none."""
    totals = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.cumsum(lengths)
    return totals[ends] - totals[ends - lengths]


def _named(letter: str, numbers: np.ndarray) -> pa.Array:
    texts = pc.cast(pa.array(numbers), pa.string())
    return pc.binary_join_element_wise(letter, texts, "")  # pyright: ignore[reportAttributeAccessIssue]


def _joined(texts: pa.Array, lengths: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), texts), "|")  # pyright: ignore[reportAttributeAccessIssue]
