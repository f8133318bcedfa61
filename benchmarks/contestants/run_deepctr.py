"""DeepCTR-Torch's DeepFM as a contestant: python run_deepctr.py '{"batch": 1024, ...}'

A turn is one call of its own `fit` over as many rows as the turn has, its loading included: it has no step to call alone.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat  # pyright: ignore[reportMissingImports]
from deepctr_torch.models import DeepFM  # pyright: ignore[reportMissingImports]
from pacing import Pace

MOST_STEPS = 64


def main() -> None:
    pace, shape = Pace(), json.loads(sys.argv[1])
    rows, labels = random_rows(shape, MOST_STEPS * shape["batch"])
    sparse = [SparseFeat(f"C{i}", n, embedding_dim=shape["dim"]) for i, n in enumerate(shape["tables"])]
    columns = [*sparse, *(DenseFeat(f"I{i}", 1) for i in range(shape["num_dense"]))]
    no_decay = {"l2_reg_linear": 0, "l2_reg_embedding": 0}
    model = DeepFM(columns, columns, dnn_hidden_units=shape["over_arch"][:-1], device="cpu", **no_decay)
    # It adds the loss up over the batch, so this is the 0.1 of the others on a mean.
    model.compile(torch.optim.SGD(model.parameters(), lr=0.1 / shape["batch"]), "binary_crossentropy")
    while True:
        steps = min(pace.next_turn(), MOST_STEPS)
        num_rows = steps * shape["batch"]
        began = time.perf_counter()
        model.fit(
            {name: values[:num_rows] for name, values in rows.items()}, labels[:num_rows], shape["batch"], verbose=0
        )
        seconds = time.perf_counter() - began
        pace.tell(steps, busy_s=seconds, wall_s=seconds)


def random_rows(shape: dict[str, Any], num_rows: int) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(0)
    rows = {f"C{i}": rng.integers(0, n, num_rows) for i, n in enumerate(shape["tables"])}
    rows |= {f"I{i}": rng.random(num_rows, np.float32) for i in range(shape["num_dense"])}
    return rows, rng.integers(0, 2, num_rows).astype(np.float32)


if __name__ == "__main__":
    main()
