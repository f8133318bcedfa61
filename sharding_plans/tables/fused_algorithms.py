"""The optimizers that FBGEMM's kernels fuse into the tables' backward pass: what each keeps, and what would change it.

Left out: LARS_SGD, whose state TorchRec 1.8.0 cannot read (NotImplementedError when the model is sharded), and the row-wise
Adagrads that average copies of weights (EMAINPLACE_, ENSEMBLE_), which give half of each table's columns another meaning.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torchrec.optim.optimizers import LAMB, SGD, Adagrad, Adam, PartialRowWiseAdam, PartialRowWiseLAMB
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

CPU, CUDA = "cpu", "cuda"


@dataclass(frozen=True, kw_only=True)
class FusedAlgorithm:
    """One optimizer: TorchRec's class, where it runs, and what of a step depends on more than one weight."""

    optimizer: type[Any]
    devices: tuple[str, ...] = (CPU, CUDA)
    decays: tuple[str, ...] = ()
    """Kinds of weight decay that the CUDA kernels apply; those of the CPU apply none, whatever they are given."""
    per_row: str = ""
    """What a step uses of the whole row, in words: a table that is split by columns is trained by another algorithm then."""
    is_lazy: bool = False
    """Whether rows without a gradient stay as they are though a dense step would move them."""


ALGORITHMS = {
    "sgd": FusedAlgorithm(optimizer=SGD),
    "adagrad": FusedAlgorithm(optimizer=Adagrad),
    "row_wise_adagrad": FusedAlgorithm(
        optimizer=RowWiseAdagrad, decays=("l2", "decoupled"), per_row="row-wise Adagrad keeps one accumulator"
    ),
    "adam": FusedAlgorithm(optimizer=Adam, devices=(CUDA,), decays=("decoupled",), is_lazy=True),
    "partial_row_wise_adam": FusedAlgorithm(
        optimizer=PartialRowWiseAdam,
        devices=(CUDA,),
        decays=("decoupled",),
        per_row="partial row-wise Adam keeps one second moment",
        is_lazy=True,
    ),
    "lamb": FusedAlgorithm(
        optimizer=LAMB, devices=(CUDA,), decays=("decoupled",), per_row="LAMB takes one norm", is_lazy=True
    ),
    "partial_row_wise_lamb": FusedAlgorithm(
        optimizer=PartialRowWiseLAMB,
        devices=(CUDA,),
        decays=("decoupled",),
        per_row="partial row-wise LAMB keeps one second moment",
        is_lazy=True,
    ),
}
CPU_ALGORITHMS = tuple(name for name, algorithm in ALGORITHMS.items() if CPU in algorithm.devices)


def attached(weight: nn.Parameter) -> tuple[str | None, dict[str, Any]]:
    """The name and settings of the fused optimizer that is attached to a table; another class by its lower-case name."""
    classes = getattr(weight, "_optimizer_classes", None) or [None]
    settings = getattr(weight, "_optimizer_kwargs", None) or [{}]
    return _name_of(classes[0]), settings[0]


def _name_of(optimizer: type[Any] | None) -> str | None:
    if optimizer is None:
        return None
    known = {algorithm.optimizer.__name__: name for name, algorithm in ALGORITHMS.items()}
    return known.get(optimizer.__name__, optimizer.__name__.lower())
