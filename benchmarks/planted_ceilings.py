"""The best AUC that each kind of ranker can reach on planted rows: python -m benchmarks.planted_ceilings

    logit = bias + sum_f single_f + <sum_left latent, sum_right latent> + sum_j slope_j z_j + bend_j sin(1.5 z_j)

of which a kind of ranker can express a part, whatever its weights and however many rows it sees:

- everything (MLPs and what holds one): the true logit;
- pairs (FM): all but the bends of the dense features, in place of which it has their best straight line;
- additive (logistic regression): in place of the pairs also their best sum of single effects, which their left and right means
  give, since features are drawn independently;
- two features (matrix factorisation, neural collaborative filtering): only what user and item say.

Each ceiling is the AUC of that part's logit on drawn rows. `manifest.json` of a prepared dataset knows the first one only.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.config import GenerateConfig
from data.criteo import NUM_SPARSE
from data.generating import planted
from data.generating.planted import PlantedModel, PlantedRows
from pipeline.metrics.summary import roc_auc

LEFT, RIGHT = planted._LEFT, planted._RIGHT
"""The paired features, as numbers from 0: every left one with every right one."""

KINDS = {
    "dlrm": "everything",
    "dcn": "everything",
    "dcnv2": "everything",
    "wide_and_deep": "everything",
    "deepfm": "everything",
    "xdeepfm": "everything",
    "mlp": "everything",
    "fm": "pairs",
    "logistic_regression": "additive",
    "matrix_factorisation": "two features",
    "neural_cf": "two features",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ceilings of the AUC on planted rows, by kind of ranker.")
    defaults = GenerateConfig()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of `generate`")
    parser.add_argument("--cardinality-scale", type=float, default=defaults.cardinality_scale)
    parser.add_argument("--signal", type=float, default=defaults.signal)
    parser.add_argument("--pair", default="C2,C9", help="user and item")
    arguments = parser.parse_args()
    config = GenerateConfig(seed=arguments.seed, cardinality_scale=arguments.cardinality_scale, signal=arguments.signal)
    user, item = (int(name.removeprefix("C")) - 1 for name in arguments.pair.split(","))
    for kind, auc in ceilings(config, arguments.rows, (user, item)).items():
        rankers = ", ".join(ranker for ranker, its in KINDS.items() if its == kind)
        print(f"{kind:<14} {auc:.4f}  {rankers}")


def ceilings(config: GenerateConfig, num_rows: int, pair: tuple[int, int]) -> dict[str, float]:
    """The best AUC by kind of ranker on `num_rows` drawn rows; `pair` holds user and item as numbers of features from 0."""
    model = PlantedModel(config)
    rows = model.draw(np.random.default_rng([config.seed, 7]), num_rows)
    return {kind: roc_auc(logits, rows.labels) for kind, logits in expressible(model, rows, pair).items()}


def expressible(
    model: PlantedModel,
    rows: PlantedRows,
    pair: tuple[int, int],
    *,
    features: Sequence[int] = range(NUM_SPARSE),
    has_dense: bool = True,
) -> dict[str, NDArray]:
    """For each kind of ranker, the part of each row's true logit that it can express, float64 [n], but for a constant.

    `features` (which hold all paired ones) and `has_dense` say what the rankers see.
    """
    heads = np.where(rows.rank_missing, planted.HEAD_IDS, np.minimum(rows.ranks, planted.HEAD_IDS))
    singles = np.stack([model._single[f][heads[f]] for f in range(len(heads))])
    latent = np.stack([model._latent[f][heads[f]] for f in range(len(heads))])
    left, right = latent[list(LEFT)].sum(axis=0), latent[list(RIGHT)].sum(axis=0)
    pairs = planted._PAIR_STRENGTH * (left * right).sum(axis=1)
    flat = planted._PAIR_STRENGTH * (left @ right.mean(axis=0) + right @ left.mean(axis=0))
    curves, lines = _curves(model, rows) if has_dense else (0.0, 0.0)
    user, item = pair
    of_two = singles[user] + singles[item] + _pair_of(latent, pair)
    sum_of_singles = singles[list(features)].sum(axis=0)
    return {
        "everything": sum_of_singles + pairs + curves,
        "pairs": sum_of_singles + pairs + lines,
        "additive": sum_of_singles + flat + lines,
        "two features": of_two,
    }


def _curves(model: PlantedModel, rows: PlantedRows) -> tuple[NDArray, NDArray]:
    """The dense features' effects, and their best straight lines in log(1 + x), a missing value as 0 like `prepare` has it."""
    logs = np.log1p(np.maximum(np.where(rows.integer_missing, 0, rows.integers), 0)).astype(np.float64)
    z = (logs - planted._LOG_MEAN[:, None]) / planted._LOG_STD[:, None]
    effects = model._slope[:, None] * z + model._bend[:, None] * np.sin(1.5 * z)
    lines = sum(np.polyval(np.polyfit(x, effect, 1), x) for x, effect in zip(logs, effects, strict=True))
    return effects.sum(axis=0), np.asarray(lines)


def _pair_of(latent: NDArray, pair: tuple[int, int]) -> NDArray:
    """What user and item say through the planted pairs: their own product, and each against the others' mean."""
    sides = {False: list(LEFT), True: list(RIGHT)}
    total = np.zeros(latent.shape[1])
    for feature in pair:
        for is_left in (True, False):
            if feature in sides[not is_left]:
                others = [g for g in sides[is_left] if g not in pair]
                total += latent[feature] @ latent[others].sum(axis=0).mean(axis=0)
    user, item = pair
    if (user in LEFT and item in RIGHT) or (item in LEFT and user in RIGHT):
        total += (latent[user] * latent[item]).sum(axis=1)
    return planted._PAIR_STRENGTH * total


if __name__ == "__main__":
    main()
