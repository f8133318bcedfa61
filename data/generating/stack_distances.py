"""LRU stack distances of a trace of ids, and back: what an access pattern is when the ids themselves are forgotten.

The stack holds the ids seen so far, the one used last on top. An access finds its id at some place of the stack, counted from
1 at the top: its stack distance, 0 where the id is new; the id then moves to the top. A cache of c ids that evicts the least
recently used one hits exactly the accesses of distance 1 to c. (Mattson et al., Evaluation techniques for storage
hierarchies, 1970; Naumov et al., arXiv:1906.00091, section 4.1.)

    ids        a  b  a  a  c  b
    distance   0  0  2  1  0  3

Both directions take O(n log n) for a trace of n accesses and work on whole arrays, a level of a binary tree at a time.
"""

import numpy as np


def stack_distances(ids: np.ndarray) -> np.ndarray:
    """Stack distance of every access of a trace, int64 [n]; 0 where an id is met for the first time.

    Between an access at i and the one before of the same id at p lie i - p - 1 others. Those whose own predecessor comes after
    p repeat an id of that stretch; the rest are the distinct ids on top of ours.
    """
    previous = _previous_use(ids)
    repeats = np.flatnonzero(previous >= 0)
    before = previous[repeats]
    ranks = np.empty(len(before), np.int64)
    ranks[np.argsort(before)] = np.arange(len(before))
    distances = np.zeros(len(ids), np.int64)
    distances[repeats] = repeats - before - _larger_before(ranks)[ranks]
    return distances


def trace_of(distances: np.ndarray) -> np.ndarray:
    """The trace with these stack distances, int64 [n]: ids 0, 1, 2, ... in the order of their first use.

    A distance must not exceed the number of ids seen before it. A repeat takes the place in time at which its id was last used:
    counted from the oldest, that is number (ids seen - distance) of the places not yet taken by an earlier repeat.
    """
    is_new = distances == 0
    num_seen = np.cumsum(is_new) - is_new
    repeats = np.flatnonzero(~is_new)
    source = np.arange(len(distances))
    source[repeats] = _taken_places((num_seen - distances)[repeats])
    while True:  # follow each chain of repeats to its first use, in steps that double
        further = source[source]
        if np.array_equal(further, source):
            return num_seen[source]
        source = further


def hit_rates(distances: np.ndarray, cache_sizes: np.ndarray) -> np.ndarray:
    """Fraction of all accesses that an LRU cache of each size (in ids) hits, from empty; float64 [sizes]."""
    repeats = np.sort(distances[distances > 0])
    return np.searchsorted(repeats, cache_sizes, side="right") / max(1, len(distances))


def _previous_use(ids: np.ndarray) -> np.ndarray:
    """Index of the access before of the same id, int64 [n]; -1 where there is none."""
    order = np.argsort(ids, kind="stable")
    is_repeat = ids[order][1:] == ids[order][:-1]
    previous = np.full(len(ids), -1, np.int64)
    previous[order[1:][is_repeat]] = order[:-1][is_repeat]
    return previous


def _larger_before(permutation: np.ndarray) -> np.ndarray:
    """How many larger values stand before each value of a permutation of 0 .. n - 1; int64 [n], by value.

    From the highest bit down, values are grouped by their upper bits, in their first order: in a group, a value whose next bit
    is 0 has every earlier one whose next bit is 1 before it. As all values are there, group g starts at its lowest value.
    """
    counts = np.zeros(len(permutation), np.int64)
    for bit in reversed(range(max(0, len(permutation) - 1).bit_length())):
        is_one = (permutation >> bit) & 1
        ones = np.concatenate([[0], np.cumsum(is_one)])
        group = permutation >> (bit + 1) << (bit + 1)
        ones_before = ones[:-1] - ones[group]
        zeros = np.flatnonzero(is_one == 0)
        counts[permutation[zeros]] += ones_before[zeros]
        place = group + (1 << bit) + ones_before
        place[zeros] = zeros - ones_before[zeros]
        regrouped = np.empty_like(permutation)
        regrouped[place] = permutation
        permutation = regrouped
    return counts


def _taken_places(numbers: np.ndarray) -> np.ndarray:
    """Place j takes number `numbers[j]` of the places 0, 1, 2, ... that none before it took; int64 [n].

    Neighbouring blocks are joined, from single takings up: what the right block counts in the places that the left one left
    over is moved up past those that it took. A block keeps its places in ascending order (`places`) with who took them.
    """
    padded = 1 << max(0, len(numbers) - 1).bit_length()
    places = np.concatenate([numbers, np.zeros(padded - len(numbers), np.int64)])
    takers, size = np.arange(padded), 1
    while size < padded:
        places, takers = _joined(places.reshape(-1, 2, size), takers.reshape(-1, 2, size))
        size *= 2
    result = np.empty(padded, np.int64)
    result[takers] = places
    return result[: len(numbers)]


def _joined(places: np.ndarray, takers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of blocks [pairs, 2, size] as one ascending block each; both returned flat."""
    num_pairs, _, size = places.shape
    stride = np.arange(num_pairs)[:, None] * (places.max() + 1)  # each pair is searched by itself
    skipped_at = (places[:, 0] - np.arange(size) + stride).ravel()
    skipped = np.searchsorted(skipped_at, (places[:, 1] + stride).ravel(), side="right").reshape(num_pairs, size)
    skipped -= np.arange(num_pairs)[:, None] * size
    from_right = np.zeros(places.size, bool)
    from_right[(np.arange(num_pairs)[:, None] * 2 * size + np.arange(size) + skipped).ravel()] = True
    joined, who = np.empty(places.size, np.int64), np.empty(places.size, np.int64)
    joined[from_right], who[from_right] = (places[:, 1] + skipped).ravel(), takers[:, 1].ravel()
    joined[~from_right], who[~from_right] = places[:, 0].ravel(), takers[:, 0].ravel()
    return joined, who
