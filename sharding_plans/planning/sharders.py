"""Which sharding types and kernels a table may take on a device."""

from collections.abc import Collection

from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder

from sharding_plans.types import SHARDING_TYPES


class EveryTypeSharder(EmbeddingBagCollectionSharder):
    """Offers all seven sharding types on every device, less the excluded ones.

    TorchRec 1.8.0 keeps row-wise, table-row-wise and grid from CPU ranks, although they run on gloo and match the unsharded
    model. On CUDA, TorchRec's own kernels are offered for each type; on CPU the fused kernel, and the dense one for
    data-parallel tables (UVM does not exist there). Fused kernels raise on an id outside their table, where they would train
    row 0 by default.
    """

    def __init__(self, *, excluded: Collection[str] = ()) -> None:
        super().__init__(fused_params={"bounds_check_mode": BoundsCheckMode.FATAL})
        self._excluded = frozenset(excluded)

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return [kind for kind in SHARDING_TYPES if kind not in self._excluded]

    def compute_kernels(self, sharding_type: str, compute_device_type: str) -> list[str]:
        if compute_device_type == "cpu":
            return ["dense"] if sharding_type == "data_parallel" else ["fused"]
        return super().compute_kernels(sharding_type, compute_device_type)
