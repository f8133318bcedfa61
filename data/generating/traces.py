"""Traces of ids generated from an access pattern: as long as wanted, of ids 0, 1, 2, ... in the order of their first use.

Two methods. *paper* is the DLRM paper's (arXiv:1906.00091, section 4.1): each stack distance is drawn from all those learned
that the ids seen so far allow, "new" being one of them. As long as few ids were seen, what cannot be drawn yet goes to the
distances that can, so small tables and slowly growing ones get too many hits. *growth* mends both: new ids come when the
source met them, and distances are drawn with weights under which each one occurs, over the whole trace, as often as in the
source. Weights follow from the largest distance down: with S(t) ids seen at access t, w(d) = count(d) / sum over the accesses
with S(t) >= d of 1 / W(S(t)), where W(s) adds up the weights of the distances up to s.

Every draw depends on (seed, access) alone.
"""

from typing import Literal

import numpy as np

from data.counter import counters, derive_key, mix
from data.generating.access_pattern import AccessPattern
from data.generating.stack_distances import trace_of

Method = Literal["growth", "paper"]
_NEW, _DISTANCE, _PLACE = range(3)


def generate_trace(
    pattern: AccessPattern, num_accesses: int, *, seed: int, method: Method = "growth", padding: bool = False
) -> np.ndarray:
    """A trace with the learned pattern, int64 [num_accesses], ids from 0 to at most `pattern.num_ids` - 1.

    `padding` is for the paper's method: new ids are made as much more likely as an id is accessed on average, and when all
    are seen, none counts as new; without it, the id not used for longest stands for a new one then.
    """
    return trace_of(generate_distances(pattern, num_accesses, seed=seed, method=method, padding=padding))


def generate_distances(
    pattern: AccessPattern, num_accesses: int, *, seed: int, method: Method = "growth", padding: bool = False
) -> np.ndarray:
    """The stack distances of such a trace, int64 [num_accesses]; 0 is a new id."""
    if method == "growth":
        is_new = _grown(pattern, num_accesses)
        weights = _balanced_weights(pattern)
    else:
        is_new = _newly_drawn(pattern, _new_weight(pattern, padding), num_accesses, seed)
        weights = np.array(pattern.num_repeats, np.float64)
    num_seen = np.cumsum(is_new) - is_new
    distances = _drawn(pattern, weights, num_seen, seed)
    if method == "paper" and not padding:
        share = pattern.num_ids / pattern.num_accesses
        is_oldest = (num_seen == pattern.num_ids) & (_uniforms(seed, _NEW, num_accesses) < share)
        distances = np.where(is_oldest, num_seen, distances)
    distances[is_new] = 0
    return distances


def _grown(pattern: AccessPattern, num_accesses: int) -> np.ndarray:
    """Which accesses meet a new id, bool [num_accesses]: as in the source, points of its growth joined by straight lines."""
    at, ids = np.array([(0, 0), *pattern.growth]).T
    ids, first = np.unique(ids, return_index=True)
    at = at[first]
    when = np.ceil(np.interp(np.arange(1, pattern.num_ids + 1), ids, at)).astype(np.int64) - 1
    order = np.arange(pattern.num_ids)
    when = np.maximum.accumulate(when - order) + order  # no two at once
    is_new = np.zeros(num_accesses, bool)
    is_new[when[when < num_accesses]] = True
    return is_new


def _new_weight(pattern: AccessPattern, padding: bool) -> float:
    """How much "new" weighs among the counts of the distances. Padding adds accesses per id, as the reference does."""
    largest = max(pattern.distances, default=1)
    return pattern.num_ids + (-(-pattern.num_accesses // largest) if padding else 0)


def _newly_drawn(pattern: AccessPattern, new_weight: float, num_accesses: int, seed: int) -> np.ndarray:
    """Which accesses meet a new id, were it drawn at each: the waiting time for the next one is geometric."""
    seen = np.arange(pattern.num_ids)
    repeats = _weight_up_to(pattern, np.array(pattern.num_repeats, np.float64), seen)
    chance = new_weight / (new_weight + repeats)
    with np.errstate(divide="ignore"):
        waits = np.ceil(np.log1p(-_uniforms(seed, _NEW, pattern.num_ids)) / np.log1p(-chance))
    when = np.cumsum(np.maximum(waits, 1)) - 1
    is_new = np.zeros(num_accesses, bool)
    is_new[when[when < num_accesses].astype(np.int64)] = True
    return is_new


def _balanced_weights(pattern: AccessPattern) -> np.ndarray:
    """Weight of each bucket of distances under which all occur as often as in the source; float64 [buckets], sum 1."""
    is_new = _grown(pattern, pattern.num_accesses)
    num_seen = np.cumsum(is_new) - is_new
    held_at = np.searchsorted(np.array(pattern.distances), num_seen[~is_new], side="right") - 1
    accesses = np.bincount(np.maximum(held_at, 0), minlength=len(pattern.distances))
    weights, rest, chances = np.zeros(len(pattern.distances)), 1.0, 0.0
    for bucket in reversed(range(len(weights))):
        # Accesses at which this bucket is the largest that is possible, each with what is left of the weight.
        chances += accesses[bucket] / rest
        wanted = pattern.num_repeats[bucket] / chances if chances else 0.0
        weights[bucket] = min(wanted, rest if bucket == 0 else rest * (1 - 1e-9))
        rest -= weights[bucket]
    return weights


def _weight_up_to(pattern: AccessPattern, weights: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Summed weight of the distances 1 .. seen; the bucket that `seen` lies in counts by its share. float64, as `seen`."""
    starts, ends = _bounds(pattern)
    return np.interp(seen, np.concatenate([starts[:1] - 1, ends]), np.concatenate([[0.0], np.cumsum(weights)]))


def _drawn(pattern: AccessPattern, weights: np.ndarray, num_seen: np.ndarray, seed: int) -> np.ndarray:
    """A distance from 1 to `num_seen` for each access, drawn by the weights; int64."""
    if not len(weights):
        return np.minimum(num_seen, 1)
    starts, ends = _bounds(pattern)
    cumulative = np.cumsum(weights)
    last = np.maximum(np.searchsorted(starts, num_seen, side="right") - 1, 0)
    drawn = _uniforms(seed, _DISTANCE, len(num_seen)) * cumulative[last]
    bucket = np.minimum(np.searchsorted(cumulative, drawn, side="right"), last)
    widths = np.minimum(ends[bucket], num_seen) - starts[bucket] + 1
    inside = (_uniforms(seed, _PLACE, len(num_seen)) * np.maximum(widths, 1)).astype(np.int64)
    return np.minimum(starts[bucket] + inside, np.maximum(num_seen, 1))


def _bounds(pattern: AccessPattern) -> tuple[np.ndarray, np.ndarray]:
    """First and last distance of each bucket."""
    starts = np.array(pattern.distances, np.int64)
    return starts, np.concatenate([starts[1:] - 1, [pattern.num_ids]])


def _uniforms(seed: int, purpose: int, count: int) -> np.ndarray:
    """float64 [count] in [0, 1), from (seed, index) alone."""
    bits = mix(counters(np.arange(count)) + np.uint64(derive_key(seed, purpose)))
    return (bits >> np.uint64(11)) * 2.0**-53
