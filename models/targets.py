"""Several targets: one arch for each, on embeddings that they share and first-order terms of their own.

B: batch rows, T: targets.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from data.schema import Schema
from models.config import ModelConfig
from models.rankers.arch import Arch
from models.table_layout import TableGroup

_PREFIX = "target_"


class PerTarget(nn.Module):
    """Logits, float32 [B, T], of one arch per target, from dense features and the table groups of `target_groups`."""

    def __init__(self, archs: Sequence[Arch], targets: Sequence[str], places: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._places = [list(each) for each in places]
        self._names = [f"{_PREFIX}{name}" for name in targets]
        for name, arch in zip(self._names, archs, strict=True):
            self.add_module(name, arch)

    @property
    def interactions(self) -> str:
        """How features meet, for each target alike."""
        first = self.get_submodule(self._names[0]).interactions
        return f"for each of {len(self._names)} targets {first}" if first else ""

    def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
        logits = [
            getattr(self, name)(dense, [pooled[i] for i in places])
            for name, places in zip(self._names, self._places, strict=True)
        ]
        return torch.stack(logits, dim=1)


def build_arch(chosen: type[Arch], config: ModelConfig, schema: Schema, generator: torch.Generator) -> nn.Module:
    """The arch, logits [B]; for several targets one for each, logits [B, T]."""
    if not schema.targets:
        return chosen(config, schema, generator)
    archs = [chosen(config, schema, generator) for _ in schema.targets]
    own = chosen.table_groups(config, schema)
    groups = target_groups(chosen, config, schema)
    places = [[groups.index(_of_target(group, target)) for group in own] for target in schema.targets]
    return PerTarget(archs, schema.targets, places)


def target_groups(chosen: type[Arch], config: ModelConfig, schema: Schema) -> list[TableGroup]:
    """The arch's table groups; with several targets, those of first-order terms once for each."""
    own = chosen.table_groups(config, schema)
    if not schema.targets:
        return own
    shared = [group for group in own if not group.is_first_order]
    terms = [_of_target(group, target) for group in own if group.is_first_order for target in schema.targets]
    return [*shared, *terms]


def is_target(part: str) -> bool:
    """Whether a part of a model card, by its name, is the arch of one of several targets."""
    return part.startswith(_PREFIX)


def _of_target(group: TableGroup, target: str) -> TableGroup:
    return replace(group, suffix=f"{group.suffix}_{target}") if group.is_first_order else group
