"""Imports torch, FBGEMM and TorchRec in a process of its own and prints a line of JSON after each stage that went well.

A process of its own, because a broken build may end it with a signal: the last line printed says how far it came.
"""

import json
import sys
from typing import Any


def probe_torch() -> dict[str, Any]:
    """What torch sees: devices, threads, communication libraries."""
    import torch
    import torch.distributed as dist

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    built_for = torch.version.cuda
    return {
        "version": torch.__version__,
        "num_threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda_build": built_for,
        "nccl": dist.is_available() and dist.is_nccl_available(),
    }


def probe_gloo() -> dict[str, Any]:
    """A gloo group of one rank that adds up one number: this also finds a host name that does not resolve."""
    import torch
    import torch.distributed as dist

    store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    dist.all_reduce(torch.ones(1))
    dist.destroy_process_group()
    return {}


def probe_fbgemm() -> dict[str, Any]:
    """FBGEMM's operators are there and count correctly."""
    import fbgemm_gpu  # noqa: F401  # registers torch.ops.fbgemm
    import torch

    offsets = torch.ops.fbgemm.asynchronous_complete_cumsum(torch.tensor([2, 0, 3]))
    assert offsets.tolist() == [0, 2, 2, 5], f"a cumulative sum came out as {offsets.tolist()}"
    return {}


def probe_torchrec() -> dict[str, Any]:
    """TorchRec looks up a bag."""
    import torch
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor

    table = EmbeddingBagConfig(name="t", embedding_dim=4, num_embeddings=3, feature_names=["f"])
    bags = KeyedJaggedTensor(keys=["f"], values=torch.tensor([1, 2]), lengths=torch.tensor([2]))
    shape = EmbeddingBagCollection(tables=[table])(bags).values().shape
    assert shape == (1, 4), f"a lookup has shape {tuple(shape)}, not (1, 4)"
    return {}


STAGES = {"torch": probe_torch, "gloo": probe_gloo, "fbgemm": probe_fbgemm, "torchrec": probe_torchrec}


def main() -> int:
    """Run every stage; after an error the later stages still run, unless torch itself is missing."""
    for name, stage in STAGES.items():
        print(json.dumps({"stage": name, "begins": True}), flush=True)
        try:
            result: dict[str, Any] = {"stage": name, "result": stage()}
        except Exception as error:  # whatever a broken package raises is what we are looking for
            result = {"stage": name, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)
        if name == "torch" and "error" in result:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
