"""A click model with a known truth: which ids a row holds, and how likely its click is.

    logit = bias + sum_f single_f[rank_f] + <sum_{left f} latent_f[rank_f], sum_{right g} latent_g[rank_g]>
                 + sum_j curve_j(log(1 + max(x_j, 0)))

A feature's ids are ranked by frequency; effects shrink for rare ids, since nobody could learn those. The middle term is the
pairs': every left feature with every right one, of low rank, so that a dot product of embeddings can express it.

Days can drift: popularity moves on, from each id to one some places further, in features of many ids. An id keeps what is drawn
for it; how strong that is goes with its rank on the day, so that later days are as learnable as the first.

Legend: n rows, K latent dimensions, H head ids of a feature that have effects (all later ones share the last row, zero).
"""

from dataclasses import dataclass

import numpy as np

from data.config import GenerateConfig
from data.criteo import KAGGLE_CARDINALITIES, NUM_DENSE, NUM_SPARSE

LATENT_DIMENSIONS = 2
HEAD_IDS = 4096
MISSING = -1

# Small id spaces (weekday, device type, ...) stay as they are when the large ones are scaled down.
_UNSCALED_CARDINALITY = 1000
# The rank at which an effect has half its strength.
_SINGLE_HALF_RANK, _LATENT_HALF_RANK = 60.0, 30.0
# C2, C6, C14, C17 with C5, C8, C9, C23: of few ids each, so that a pair of ids is met often enough to be learned.
_LEFT = (1, 5, 13, 16)
_RIGHT = (4, 7, 8, 22)
_SINGLE_STRENGTH, _PAIR_STRENGTH, _CURVE_STRENGTH = 0.18, 0.26, 0.15
_CALIBRATION_ROWS = 65_536

# Fractions of empty fields, close to the Kaggle log's.
_DENSE_MISSING = (0.45, 0.0, 0.21, 0.22, 0.03, 0.22, 0.04, 0.0, 0.04, 0.45, 0.04, 0.76, 0.22)
_SPARSE_MISSING = (
    *(0.0, 0.0, 0.03, 0.03, 0.0, 0.12, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03, 0.0),
    *(0.0, 0.0, 0.03, 0.0, 0.0, 0.44, 0.44, 0.03, 0.76, 0.0, 0.03, 0.44, 0.44),
)
# Mean and standard deviation of log(1 + x); I2 alone starts below zero.
_LOG_MEAN = np.array([0.8, 2.5, 1.6, 1.6, 7.5, 3.5, 1.8, 2.3, 3.8, 0.5, 0.8, 0.3, 1.6])
_LOG_STD = np.array([0.9, 1.8, 1.2, 0.9, 2.2, 1.6, 1.2, 1.0, 1.5, 0.4, 0.8, 0.5, 1.0])
_LOWEST = np.array([0, -2, *[0] * 11])


@dataclass(frozen=True)
class PlantedRows:
    """n rows before they become text: ranks int32 [26, n] and integers int64 [13, n] with masks of what is missing.

    A rank is the id's on the first day, and so names the id on all days.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    integers: np.ndarray
    integer_missing: np.ndarray
    ranks: np.ndarray
    rank_missing: np.ndarray


class PlantedModel:
    """The planted effects for one seed: draws rows of any number, each with its true click probability."""

    def __init__(self, config: GenerateConfig) -> None:
        self.cardinalities = scaled_cardinalities(config.cardinality_scale)
        self._exponent = config.zipf_exponent
        self._signal = config.signal
        self._daily_drift = config.daily_drift
        rng = np.random.default_rng([config.seed, 0])
        self._single = _head_effects(rng, self.cardinalities, 1, _SINGLE_HALF_RANK)[..., 0] * _SINGLE_STRENGTH
        self._latent = _head_effects(rng, self.cardinalities, LATENT_DIMENSIONS, _LATENT_HALF_RANK)
        self._slope, self._bend = rng.normal(size=(2, NUM_DENSE)) * _CURVE_STRENGTH
        self._bias = 0.0
        self._bias = self._calibrated_bias(np.random.default_rng([config.seed, 1]), config.click_rate)

    def draw(self, rng: np.random.Generator, num_rows: int, day: int = 0) -> PlantedRows:
        """`num_rows` rows of a day with labels drawn from their true probabilities."""
        integers, integer_missing, ranks, rank_missing = self._draw_features(rng, num_rows)
        shifts = self._shifts(day)
        logits = self._bias + self._logits(integers, integer_missing, ranks, rank_missing, shifts)
        probabilities = 1 / (1 + np.exp(-logits))
        labels = rng.random(num_rows) < probabilities
        ids = (ranks + shifts[:, None]) % np.array(self.cardinalities)[:, None] if day else ranks
        return PlantedRows(labels, probabilities, integers, integer_missing, ids.astype(np.int32), rank_missing)

    def _shifts(self, day: int) -> np.ndarray:
        """Places by which popularity has moved on by this day, int64 [26]."""
        return np.array([day * self._daily_drift * (size >= _UNSCALED_CARDINALITY) for size in self.cardinalities])

    def _draw_features(self, rng: np.random.Generator, num_rows: int) -> tuple[np.ndarray, ...]:
        logs = rng.standard_normal((NUM_DENSE, num_rows)) * _LOG_STD[:, None] + _LOG_MEAN[:, None]
        integers = np.maximum(np.expm1(logs), -1).astype(np.int64) + _LOWEST[:, None]
        np.maximum(integers, _LOWEST[:, None], out=integers)
        integer_missing = rng.random((NUM_DENSE, num_rows), dtype=np.float32) < np.array(_DENSE_MISSING)[:, None]
        ranks = np.empty((NUM_SPARSE, num_rows), dtype=np.int32)
        for row, cardinality in zip(ranks, self.cardinalities, strict=True):
            row[:] = zipf_ranks(rng.random(num_rows), cardinality, self._exponent)
        rank_missing = rng.random((NUM_SPARSE, num_rows), dtype=np.float32) < np.array(_SPARSE_MISSING)[:, None]
        return integers, integer_missing, ranks, rank_missing

    def _logits(
        self,
        integers: np.ndarray,
        integer_missing: np.ndarray,
        ranks: np.ndarray,
        rank_missing: np.ndarray,
        shifts: np.ndarray,
    ) -> np.ndarray:
        """float64 [n], without the bias. A missing integer counts as 0 and a missing id as one without effect."""
        heads = np.where(rank_missing, HEAD_IDS, np.minimum(ranks, HEAD_IDS))
        single = [self._on_day(self._single[f][:, None], f, shifts, _SINGLE_HALF_RANK)[:, 0] for f in range(NUM_SPARSE)]
        latent = {f: self._on_day(self._latent[f], f, shifts, _LATENT_HALF_RANK) for f in (*_LEFT, *_RIGHT)}
        singles = sum(single[f][heads[f]] for f in range(NUM_SPARSE))
        left = sum(latent[f][heads[f]] for f in _LEFT)
        right = sum(latent[g][heads[g]] for g in _RIGHT)
        pairs = np.einsum("nk,nk->n", left, right) * _PAIR_STRENGTH
        scaled = (np.log1p(np.maximum(np.where(integer_missing, 0, integers), 0)) - _LOG_MEAN[:, None]) / _LOG_STD[
            :, None
        ]
        curves = self._slope @ scaled + self._bend @ np.sin(1.5 * scaled)
        return self._signal * (singles + pairs + curves)

    def _on_day(self, effects: np.ndarray, feature: int, shifts: np.ndarray, half_rank: float) -> np.ndarray:
        """Effects by rank on a day, [H + 1, width]: rank r is held by the id that stood `shift` places behind it at first.

        What was drawn for an id stays; that it is weaker for later ranks is undone for its old rank and done for the new one.
        Ids beyond the head take what was drawn for others.
        """
        if not shifts[feature]:
            return effects
        weakening = (1 + np.arange(HEAD_IDS) / half_rank)[:, None]
        ids = (np.arange(HEAD_IDS) + shifts[feature]) % self.cardinalities[feature]
        drawn = (effects[:HEAD_IDS] * weakening)[ids % HEAD_IDS]
        return np.concatenate([drawn / weakening, effects[HEAD_IDS:]])

    def _calibrated_bias(self, rng: np.random.Generator, click_rate: float) -> float:
        """The bias at which the mean probability of a sample is the click rate."""
        integers, integer_missing, ranks, rank_missing = self._draw_features(rng, _CALIBRATION_ROWS)
        logits = self._logits(integers, integer_missing, ranks, rank_missing, self._shifts(0))
        return bias_for_rate(logits, click_rate)


def bias_for_rate(logits: np.ndarray, click_rate: float) -> float:
    """What to add to the logits of a sample for their mean probability to be the click rate, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.mean(1 / (1 + np.exp(-(logits + middle)))) < click_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def scaled_cardinalities(scale: float) -> tuple[int, ...]:
    """Distinct ids of C1..C26: the Kaggle log's times `scale`, but never below 1000 where the log has more."""
    floors = [min(size, _UNSCALED_CARDINALITY) for size in KAGGLE_CARDINALITIES]
    return tuple(max(floor, round(size * scale)) for size, floor in zip(KAGGLE_CARDINALITIES, floors, strict=True))


def zipf_ranks(uniforms: np.ndarray, cardinality: int, exponent: float) -> np.ndarray:
    """Ranks in [0, cardinality), int64: rank r about in proportion to (r + 1) ** -exponent, from uniforms in [0, 1).

    The inverse of the continuous (bounded Pareto) distribution on [1, cardinality + 1), rounded down: needs no tables.
    """
    if exponent == 1:
        places = np.exp(uniforms * np.log(cardinality + 1))
    else:
        end = (cardinality + 1) ** (1 - exponent)
        places = (1 + uniforms * (end - 1)) ** (1 / (1 - exponent))
    return np.minimum(places.astype(np.int64), cardinality) - 1


def _head_effects(rng: np.random.Generator, cardinalities: tuple[int, ...], width: int, half_rank: float) -> np.ndarray:
    """float64 [26, H + 1, width]: normal effects, weaker for later ranks; the last row, for all other ids, is zero."""
    effects = (
        rng.normal(size=(len(cardinalities), HEAD_IDS + 1, width)) / (1 + np.arange(HEAD_IDS + 1) / half_rank)[:, None]
    )
    effects[:, HEAD_IDS] = 0
    return effects
