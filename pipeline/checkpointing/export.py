"""A checkpoint as one plain PyTorch state dict, which the unsharded model loads."""

from pathlib import Path

import torch

from data.aside import written_aside
from pipeline.checkpointing.tensors import read_averages, read_whole

TASK_PREFIX = "model.ranker."
"""The ranker within the training task within a checkpoint."""
RANKER_PREFIX = "ranker."


def export(checkpoint: Path, out: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights that now lie in `out`, by their names in the unsharded ranker; averaged ones where there are any.

    Read it with `torch.load(out, weights_only=True)` into `build_ranker(config.model, schema, device="cpu")`.
    """
    weights = ranker_weights(checkpoint)
    with written_aside(out) as aside:
        torch.save(weights, aside)
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def ranker_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The whole weights of a checkpoint by their names in the unsharded ranker; averaged ones where there are any."""
    averages = read_averages(checkpoint)
    weights = read_whole(checkpoint, TASK_PREFIX)
    own = (name for name in averages if name.startswith(RANKER_PREFIX))
    return weights | {name.removeprefix(RANKER_PREFIX): averages[name] for name in own}
