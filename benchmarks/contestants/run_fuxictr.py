"""FuxiCTR's DLRM as a contestant: python run_fuxictr.py CHECKOUT '{"batch": 1024, ...}'

The model is the one in model_zoo/DLRM of the checkout; a step is its own `train_step`, on batches that lie in memory.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap  # pyright: ignore[reportMissingImports]
from pacing import Pace

NUM_BATCHES = 10


def main() -> None:
    pace, shape = Pace(), json.loads(sys.argv[2])
    sys.path.insert(0, str(Path(sys.argv[1]) / "model_zoo" / "DLRM"))
    from src.DLRM import DLRM  # pyright: ignore[reportMissingImports]

    model = DLRM(
        feature_map(shape),
        embedding_dim=shape["dim"],
        bottom_mlp_units=shape["dense_arch"][:-1],
        top_mlp_units=shape["over_arch"][:-1],
        optimizer="SGD",
        loss="binary_crossentropy",
        learning_rate=0.1,
        verbose=0,
        model_root=tempfile.mkdtemp(),
        metrics=["AUC"],
    )
    model._max_gradient_norm = 10.0  # what its `fit` sets unless told otherwise
    model.train()
    for batch in itertools.cycle([random_batch(shape, seed) for seed in range(NUM_BATCHES)]):
        pace.begin()
        model.train_step(batch).item()
        pace.end()


def feature_map(shape: dict[str, Any]) -> Any:
    found = FeatureMap("random", "")
    dense = {f"I{i}": {"type": "numeric", "source": ""} for i in range(shape["num_dense"])}
    ids = {f"C{i}": {"type": "categorical", "source": "", "vocab_size": n} for i, n in enumerate(shape["tables"])}
    found.features.update({**dense, **ids})
    found.labels, found.num_fields = ["label"], len(found.features)
    found.set_column_index()
    return found


def random_batch(shape: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    rng, size = np.random.default_rng(seed), shape["batch"]
    dense = {f"I{i}": torch.from_numpy(rng.random((size, 1), np.float32)) for i in range(shape["num_dense"])}
    ids = {f"C{i}": torch.from_numpy(rng.integers(0, rows, size)) for i, rows in enumerate(shape["tables"])}
    return {**dense, **ids, "label": torch.from_numpy(rng.integers(0, 2, size).astype(np.float32))}


if __name__ == "__main__":
    main()
