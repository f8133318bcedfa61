"""What one block of scores adds to each metric; blocks are merged from the highest scores to the lowest."""

from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.distinct import Distinct
from pipeline.metrics.moments import NO_MOMENTS, Moments

NUM_DECILES = 10
# Class histograms are taken over log-odds: click probabilities crowd near 0, where equal steps of probability show nothing.
LOG_ODDS_EDGES = np.linspace(-10.0, 10.0, 81)
CURVE_SHARES = np.unique(np.concatenate([np.linspace(0, 1, 401), np.geomspace(1e-6, 1, 121)]))


class Above(NamedTuple):
    """What lies above a block: weight of positives and of negatives, and rows of all blocks together."""

    positives: float
    negatives: float
    num_rows: int
    total_rows: int


@dataclass(frozen=True)
class Figures:
    """Sums over rows (all weighted where there are weights), enough for every metric of a set of scores.

    `doubled_pairs`: twice the pairs that the positive wins plus the tied ones, an int where there are no weights.
    `positive_ranks`: for each positive, the negatives above it (ties half); `negative_ranks`: for each negative, the
    positives above it; both as Moments under squared weights, as the variance of a weighted mean needs them, and so are
    `*_losses`. `precision`: summed over positives, the precision at their score. `deciles` [10, 4]: rows, weight, summed
    score, weight of positives, highest scores first. `curve` [K, 3]: positives so far, negatives so far, score.
    `histogram` [2, 80]: weight of negatives and of positives by log-odds.
    """

    num_positives: int = 0
    num_negatives: int = 0
    positives: float = 0
    negatives: float = 0
    doubled_pairs: float = 0
    predicted: float = 0.0
    precision: float = 0.0
    positive_loss: float = 0.0
    negative_loss: float = 0.0
    positive_ranks: Moments = NO_MOMENTS
    negative_ranks: Moments = NO_MOMENTS
    positive_losses: Moments = NO_MOMENTS
    negative_losses: Moments = NO_MOMENTS
    deciles: NDArray = field(default_factory=lambda: np.zeros((NUM_DECILES, 4)))
    histogram: NDArray = field(default_factory=lambda: np.zeros((2, len(LOG_ODDS_EDGES) - 1)))
    curve: NDArray = field(default_factory=lambda: np.zeros((0, 3)))


def merge_figures(blocks: list[Figures]) -> Figures:
    """The figures of all blocks together, given from the highest scores to the lowest."""
    curve = np.concatenate([block.curve for block in blocks])
    merged = {item.name: _merge_field(item.name, blocks) for item in fields(Figures) if item.name != "curve"}
    return Figures(**merged, curve=curve)


def _merge_field(name: str, blocks: list[Figures]) -> Any:
    values = [getattr(block, name) for block in blocks]
    return reduce(Moments.merged, values) if isinstance(values[0], Moments) else sum(values[1:], values[0])


def block_figures(block: Distinct, above: Above, eps: float) -> Figures:
    """What `block` adds, given what lies above it. `eps` clips scores for the log loss."""
    positives_here, negatives_here = np.cumsum(block.positives), np.cumsum(block.negatives)
    positives_through, negatives_through = above.positives + positives_here, above.negatives + negatives_here
    rows_through = above.num_rows + np.cumsum(block.num_positives + block.num_negatives)
    on_positives, on_negatives = _loss_figures(block, eps)
    weight = block.positives + block.negatives
    return Figures(
        num_positives=int(block.num_positives.sum()),
        num_negatives=int(block.num_negatives.sum()),
        positives=positives_here[-1].item(),
        negatives=negatives_here[-1].item(),
        doubled_pairs=_doubled_pairs(block, positives_here, above),
        predicted=float((weight * block.scores).sum()),
        precision=float((block.positives * (positives_through / (positives_through + negatives_through))).sum()),
        positive_loss=float((block.positives * on_positives).sum()),
        negative_loss=float((block.negatives * on_negatives).sum()),
        positive_ranks=Moments.of(negatives_through - block.negatives / 2, block.positives_squared),
        negative_ranks=Moments.of(positives_through - block.positives / 2, block.negatives_squared),
        positive_losses=Moments.of(on_positives, block.positives_squared),
        negative_losses=Moments.of(on_negatives, block.negatives_squared),
        deciles=_deciles(block, weight, rows_through, above.total_rows),
        histogram=_histogram(block, negatives_here, positives_here),
        curve=_curve(block, positives_through, negatives_through, rows_through, above),
    )


def _doubled_pairs(block: Distinct, positives_here: NDArray, above: Above) -> float:
    """Twice the pairs won by a positive that lies above a negative of this block, plus the ties. Exact for counts."""
    # A score's own positives tie: positives above it count 2, those on it 1, so twice those through it less those on it.
    within = (block.negatives * (2 * positives_here - block.positives)).sum().item()
    return within + 2 * above.positives * block.negatives.sum().item()  # Python ints do not overflow


def _loss_figures(block: Distinct, eps: float) -> tuple[NDArray, NDArray]:
    """Log loss of a positive and of a negative at each score."""
    p = np.clip(block.scores, eps, 1 - eps)
    return -np.log(p), -np.log1p(-p)


def _deciles(block: Distinct, weight: NDArray, rows_through: NDArray, total_rows: int) -> NDArray:
    """Rows of equal score stay together, in the tenth where their middle row falls."""
    num_rows = block.num_positives + block.num_negatives
    doubled_middle = 2 * rows_through - num_rows  # rises along the block, so each tenth is one stretch of it
    # Tenth t holds NUM_DECILES * middle in [t * total, (t + 1) * total).
    cuts = np.searchsorted(NUM_DECILES * doubled_middle, 2 * total_rows * np.arange(NUM_DECILES + 1))
    cuts[-1] = len(num_rows)
    result = np.zeros((NUM_DECILES, 4))
    for tenth in np.flatnonzero(cuts[1:] > cuts[:-1]):
        stretch = slice(cuts[tenth], cuts[tenth + 1])
        predicted = (weight[stretch] * block.scores[stretch]).sum()
        result[tenth] = num_rows[stretch].sum(), weight[stretch].sum(), predicted, block.positives[stretch].sum()
    return result


def _histogram(block: Distinct, negatives_here: NDArray, positives_here: NDArray) -> NDArray:
    """The scores fall, so the edges of the bins are found in them instead of every score in the bins."""
    edges = 1 / (1 + np.exp(-LOG_ODDS_EDGES[1:-1]))
    cuts = len(block.scores) - np.searchsorted(block.scores[::-1], edges)[::-1]
    totals = [np.append(0, total) for total in (negatives_here, positives_here)]
    return np.stack([np.diff(np.concatenate([[0], total[cuts], total[-1:]]))[::-1] for total in totals])


def _curve(
    block: Distinct, positives_through: NDArray, negatives_through: NDArray, rows_through: NDArray, above: Above
) -> NDArray:
    """Points of the ROC and precision-recall curves: the first score at or past each of a fixed set of shares of rows."""
    wanted = np.maximum(np.ceil(CURVE_SHARES * above.total_rows), 1)
    wanted = wanted[(wanted > above.num_rows) & (wanted <= rows_through[-1])]
    at = np.unique(np.searchsorted(rows_through, wanted))
    return np.stack([positives_through[at], negatives_through[at], block.scores[at]], axis=1).astype(np.float64)
