"""The dense part (arch and projections) computed in fewer bits: bfloat16, or linear layers in dynamic int8."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.ao.quantization.qconfig import per_channel_dynamic_qconfig
from torch.ao.quantization.quantize import quantize_dynamic

from models.served import ServedRanker

_PREFIXES = ("arch.", "compose.")


def as_dense_type(model: ServedRanker, kind: str) -> None:
    """Change the model in place. int8: weights of the linear layers by output row, activations by batch as they come;
    what is no linear layer (DCN's crosses, say) stays in float32."""
    if kind == "bf16":
        model.arch = _InBfloat16(model.arch)
    elif kind == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # this way of quantizing is deprecated; its successor is not in torch itself
            spec = {nn.Linear: per_channel_dynamic_qconfig}
            for part in (model.arch, model.compose):
                quantize_dynamic(part, spec, dtype=torch.qint8, inplace=True)


def stored_dense(weights: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The weights as a bundle stores them: bfloat16 in bfloat16. int8 is computed from float32 each time it is loaded."""
    if kind != "bf16":
        return dict(weights)
    is_narrow = {name: name.startswith(_PREFIXES) and weight.dtype == torch.float32 for name, weight in weights.items()}
    return {name: weight.bfloat16() if is_narrow[name] else weight for name, weight in weights.items()}


class _InBfloat16(nn.Module):
    """An arch whose weights and activations are bfloat16; what comes in and goes out is float32."""

    def __init__(self, arch: nn.Module) -> None:
        super().__init__()
        self.arch = arch.bfloat16()

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        return self.arch(dense.bfloat16(), [each.bfloat16() for each in pooled]).float()
