"""A checkpoint as one plain PyTorch state dict, which the unsharded model loads."""

from pathlib import Path

import torch

from data.aside import written_aside
from pipeline.checkpointing.tensors import read_whole

TASK_PREFIX = "model.ranker."
"""The ranker within the training task within a checkpoint."""


def export(checkpoint: Path, out: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights that now lie in `out`, by their names in the unsharded ranker.

    Read it with `torch.load(out, weights_only=True)` into `build_ranker(config.model, schema, device="cpu")`.
    """
    weights = read_whole(checkpoint, TASK_PREFIX)
    with written_aside(out) as aside:
        torch.save(weights, aside)
    return {name: tuple(weight.shape) for name, weight in weights.items()}
