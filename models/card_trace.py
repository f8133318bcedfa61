"""Watches an arch compute: arithmetic by part, and which part reads what."""

from collections import Counter
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

BETWEEN = "between the parts"
_PER_OUTPUT = {
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "pow": 1,
    "relu": 1,
    "clamp": 1,
    "sigmoid": 1,
    "tanh": 1,
    "exp": 1,
    "addcmul": 2,
}
_PER_INPUT = ("sum", "mean")


class ArchTrace(TorchDispatchMode):
    """A context in which one forward pass of `arch` on `inputs` (tensors by name) is watched, under `torch.no_grad`.

    `flops` counts by child of the arch: two for each multiply-add of a matrix product, one for each elementwise result and for
    each addend of a sum; copies are free. `inputs` names what each child reads, an input or another child, through whatever
    lies between; `widths` are the columns that it gives.
    """

    def __init__(self, arch: nn.Module, inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self.inputs: dict[str, tuple[str, ...]] = {}
        self.widths: dict[str, int] = {}
        self.sources_of_result: tuple[str, ...] = ()
        self._arch, self._current = arch, BETWEEN
        self._sources: dict[int, tuple[str, ...]] = {}
        self._alive: list[Tensor] = []
        for name, tensor in inputs.items():
            self._mark(tensor, (name,))

    def __enter__(self) -> "ArchTrace":
        self._hooks = [hook for name, child in self._arch.named_children() for hook in self._watch(name, child)]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.flops[self._current] += _flops(func, args, kwargs or {}, result)
        sources = self._sources_of(args)
        for tensor in _tensors(result):
            self._mark(tensor, sources)
        return result

    def finish(self, result: Tensor) -> None:
        """Take note of what the arch's result was made of."""
        self.sources_of_result = self._sources_of(result)

    def _watch(self, name: str, child: nn.Module) -> list[Any]:
        def entered(_: nn.Module, args: Any) -> None:
            self._current = name
            self.inputs[name] = tuple(dict.fromkeys((*self.inputs.get(name, ()), *self._sources_of(args))))

        def left(_: nn.Module, args: Any, result: Any) -> None:
            self._current = BETWEEN
            for tensor in _tensors(result):
                self._mark(tensor, (name,))
                self.widths[name] = tensor.shape[1] if tensor.dim() == 2 else tensor[0].numel()

        return [child.register_forward_pre_hook(entered), child.register_forward_hook(left)]

    def _mark(self, tensor: Tensor, sources: tuple[str, ...]) -> None:
        self._sources[id(tensor)] = sources
        self._alive.append(tensor)  # so that no other tensor gets its id

    def _sources_of(self, values: Any) -> tuple[str, ...]:
        found = [source for tensor in _tensors(values) for source in self._sources.get(id(tensor), ())]
        return tuple(dict.fromkeys(found))


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _flops(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    packet = func._overloadpacket
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    name = packet.__name__.rstrip("_")
    if name in _PER_INPUT:
        return args[0].numel()
    return _PER_OUTPUT.get(name, 0) * sum(tensor.numel() for tensor in _tensors(result))
