"""Tables of a rank that is alone: nothing is distributed, so they are asked directly, and nothing is reduced.

TorchRec takes the same way at every number of ranks: features are split by sharding type, sent to those who hold the
tables, looked up, sent back, put together; and DistributedDataParallel stands around all that has a gradient. With one rank
none of it changes a number, and at small batches it is most of a step's time.
"""

from typing import Any

import torch
from torch import nn
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.distributed.model_parallel import DataParallelWrapper
from torchrec.distributed.types import ShardingEnv
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from sharding_plans.planning.sharders import EveryTypeSharder

_WHOLE = frozenset({"table_wise", "data_parallel"})
"""Sharding types under which one rank's lookup gives its tables' pooled embeddings, whole and in the order of their names."""


class CollectionAlone(ShardedEmbeddingBagCollection):
    """A sharded collection whose only rank this is; pooled embeddings as ShardedEmbeddingBagCollection gives them, to the bit.

    It reads TorchRec 1.8.0's private attributes; tests hold it against TorchRec's own way.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lookups = [each.module if isinstance(each, _NotReduced) else each for each in self._lookups]
        lookups: list[Any] = list(self._lookups)
        self._kernels = [kernel for lookup in lookups for kernel in lookup._emb_modules]
        self._num_features = [number for lookup in lookups for number in lookup._feature_splits]

    def init_data_parallel(self) -> None:
        """In place of DistributedDataParallel a stand-in until TorchRec has taken it off again: no rank's gradients to add."""
        self._lookups = [
            _NotReduced(lookup) if kind == "data_parallel" else lookup
            for kind, lookup in zip(self._sharding_types, self._lookups, strict=True)
        ]

    def forward(self, *input: Any, **kwargs: Any) -> Any:
        (features,) = input
        if not self._asks_directly(features):
            return super().forward(*input, **kwargs)
        with torch.no_grad():
            if self._has_features_permute:
                features = features.permute(self._features_order, self._features_order_tensor)
            shares = [features] if len(self._kernels) == 1 else features.split(self._num_features)
        pooled = [_looked_up(kernel, share) for kernel, share in zip(self._kernels, shares, strict=True)]
        values = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)
        return KeyedTensor(keys=self._embedding_names, length_per_key=self._embedding_dims, values=values)

    def _asks_directly(self, features: KeyedJaggedTensor) -> bool:
        """Not the first time, when TorchRec looks at the features' order, nor where it does more than looking up."""
        if self._has_uninitialized_input_dist or self._has_mean_pooling_callback:
            return False
        return _WHOLE.issuperset(self._sharding_types) and not features.variable_stride_per_key()


def _looked_up(kernel: nn.Module, features: KeyedJaggedTensor) -> torch.Tensor:
    """The pooled embeddings of one kernel's tables, float32 [B, sum of their widths]."""
    inside: Any = kernel
    return inside.emb_module(
        indices=features.values().to(inside._embedding_table_index_type),
        offsets=features.offsets().to(inside._embedding_table_offset_type),
        per_sample_weights=features.weights_or_none(),
    )


class _NotReduced(nn.Module):
    """What TorchRec takes a data-parallel lookup out of."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class NotWrapped(DataParallelWrapper):
    """Leaves the dense part as it is, for a rank that is alone."""

    def wrap(self, dmp: Any, env: ShardingEnv, device: torch.device) -> None:
        dmp._dmp_wrapped_module = dmp._dmp_wrapped_module.to(device)


class SharderAlone(EveryTypeSharder):
    """Shards collections for a rank that is alone."""

    def shard(self, module: Any, params: Any, env: Any, device: Any = None, module_fqn: Any = None) -> CollectionAlone:
        return CollectionAlone(
            module,
            params,
            env,
            fused_params=self.fused_params,
            device=device,
            qcomm_codecs_registry=self.qcomm_codecs_registry,
            module_fqn=module_fqn,
        )
