"""A training step cut into its parts, the ranks starting each of them together.

The step computes what an uncut step computes: autograd is cut at the pooled embeddings and at the looked-up ones, and each
piece of the backward pass is started from the gradients that the one before left there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedTensor

from data.batch import Batch
from pipeline.measuring.marks import Marks
from pipeline.training.optimizers import ShardedOptimizer

WAITING = "waiting"


@dataclass
class _Cut:
    """Where autograd was cut in one collection: looked-up embeddings and pooled ones, on either side of the cut."""

    looked_up: list[Tensor]
    sent: list[Tensor]
    pooled: Tensor
    used: Tensor


class PartedStep:
    """Training steps of a sharded model, measured by part; inside `cut()` its collections are looked up part by part.

    With `is_bf16` the dense part computes in bfloat16 (autocast), as training does where it is asked to.
    """

    def __init__(
        self,
        model: DistributedModelParallel,
        optimizer: ShardedOptimizer,
        device: torch.device,
        *,
        is_bf16: bool = False,
    ) -> None:
        self._model, self._optimizer, self._is_bf16 = model, optimizer, is_bf16
        self._device = device
        self._collections = [each for each in model.modules() if isinstance(each, ShardedEmbeddingBagCollection)]
        self._marks = Marks(device)
        self._cuts: list[_Cut] = []

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Inside the block the model's collections are cut, and `run` may be called."""
        for collection in self._collections:
            collection.forward = self._forward_of(collection)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            for collection in self._collections:
                del collection.forward

    def run(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step on the batch, and milliseconds by part, `waiting` among them; a collective."""
        self._cuts = []
        self._optimizer.zero_grad()
        self._wait()
        self._marks.start()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_bf16):
            loss, _ = self._model(batch)
        self._together("dense_forward")
        loss.backward()
        self._together("dense_backward")
        for cut in self._cuts:
            if cut.used.grad is not None:
                torch.autograd.backward(cut.pooled, cut.used.grad)
        self._together("gradient_dist")
        for cut in self._cuts:
            found = [(value, leaf.grad) for value, leaf in zip(cut.looked_up, cut.sent, strict=True)]
            used = [(value, gradient) for value, gradient in found if gradient is not None and value.requires_grad]
            if used:
                torch.autograd.backward([value for value, _ in used], [gradient for _, gradient in used])
        self._together("table_backward")
        self._optimizer.step_tables()
        self._together("table_optimizer")
        self._optimizer.step_dense()
        self._together("dense_optimizer")
        return loss.detach(), self._marks.read()

    def _forward_of(self, collection: ShardedEmbeddingBagCollection) -> Any:
        def forward(features: Any) -> KeyedTensor:
            self._together("dense_forward")  # what the model does before it looks up
            context = collection.create_context()
            received = collection.input_dist(context, features).wait().wait()
            self._together("input_dist")
            looked_up = collection.compute(context, received)
            self._together("lookup")
            sent = [value.detach().requires_grad_() for value in looked_up]
            pooled = collection.output_dist(context, sent).wait()
            self._together("output_dist")
            used = pooled.values().detach().requires_grad_()
            self._cuts.append(_Cut(looked_up, sent, pooled.values(), used))
            return KeyedTensor(keys=pooled.keys(), length_per_key=pooled.length_per_key(), values=used)

        return forward

    def _together(self, part: str) -> None:
        """The part ends here; the next one begins when all ranks have ended it."""
        self._marks.end(part)
        self._wait()
        self._marks.end(WAITING)

    def _wait(self) -> None:
        if dist.get_world_size() > 1:
            dist.barrier()
