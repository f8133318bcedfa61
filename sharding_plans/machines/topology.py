"""The ranks of this job as TorchRec's planner sees them: how many, how many to a host, how much memory each."""

import os
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from torchrec.distributed.planner.types import HardwareConfig, KernelConfig, Topology, TopologyFactory, TrainerConfig

from data.errors import ConfigError

GIB = 2**30
BYTES_PER_MS = 1e9 / 1000
"""One GB/s in TorchRec's unit of bandwidth."""

CPU_MEMORY_GBPS = 50.0
CPU_INTRA_HOST_GBPS = 2.0
CPU_INTER_HOST_GBPS = 1.0
"""Orders of magnitude for gloo ranks: a core's share of DDR, gloo over loopback, gloo over a 10 Gb/s network."""


def live_topology(
    num_ranks: int,
    *,
    device: str = "cpu",
    ranks_per_host: int | None = None,
    hbm_gib: float | None = None,
    ddr_gib: float | None = None,
) -> Topology:
    """The topology of the running job: `num_ranks` ranks of kind `device` ("cpu" or "cuda").

    `ranks_per_host` is what the launcher set (LOCAL_WORLD_SIZE) unless given. A rank's memory in GiB is the device's own
    (HBM) and its share of the host's (DDR) unless given; with a process group the smallest over the ranks, so that every
    rank plans for the same topology. Bandwidths are TorchRec's defaults on CUDA and rough figures on CPU. Raises
    ConfigError when the ranks do not fill whole hosts.
    """
    per_host = ranks_per_host if ranks_per_host is not None else launched_ranks_per_host(num_ranks)
    check_whole_hosts(num_ranks, per_host)
    hbm_bytes = _gib(hbm_gib) if hbm_gib is not None else _device_memory(device)
    ddr_bytes = _gib(ddr_gib) if ddr_gib is not None else host_memory() // per_host
    hbm_bytes, ddr_bytes = _smallest_over_ranks(hbm_bytes, ddr_bytes)
    return TopologyFactory.create_topology(
        TrainerConfig(world_size=num_ranks, local_world_size=per_host),
        _hardware(device, hbm_bytes, ddr_bytes),
        KernelConfig(compute_device=device, use_hardware_based_bandwidth=True),
    )


def launched_ranks_per_host(num_ranks: int) -> int:
    """LOCAL_WORLD_SIZE as torchrun sets it, which TorchRec also reads; all ranks on one host where it is not set."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", num_ranks))


def check_whole_hosts(num_ranks: int, ranks_per_host: int) -> None:
    """Raise ConfigError unless `num_ranks` is a positive multiple of `ranks_per_host`."""
    if num_ranks < 1 or ranks_per_host < 1 or num_ranks % ranks_per_host:
        raise ConfigError(
            f"{num_ranks} ranks at {ranks_per_host} a host: TorchRec needs the same number of ranks on every host. "
            "Make the number of ranks a positive multiple of the ranks per host."
        )


def host_memory() -> int:
    """Bytes of memory that this host's processes may use: the machine's, or the container's limit where one is set."""
    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(text)) if text.isdigit() else total


def _gib(gib: float) -> int:
    return int(gib * GIB)


def _device_memory(device: str) -> int | None:
    if device != "cuda":
        return None
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory


def _smallest_over_ranks(hbm_bytes: int | None, ddr_bytes: int) -> tuple[int | None, int]:
    if not (dist.is_available() and dist.is_initialized()):
        return hbm_bytes, ddr_bytes
    found: list[tuple[int, int]] = [(0, 0)] * dist.get_world_size()
    dist.all_gather_object(found, (hbm_bytes or 0, ddr_bytes))
    return min(hbm for hbm, _ in found) or None, min(ddr for _, ddr in found)


def _hardware(device: str, hbm_bytes: int | None, ddr_bytes: int) -> HardwareConfig:
    if device != "cpu":
        return HardwareConfig(hbm_cap_bytes=hbm_bytes, ddr_cap_bytes=ddr_bytes)
    return HardwareConfig(
        ddr_cap_bytes=ddr_bytes,
        ddr_mem_bw=CPU_MEMORY_GBPS * BYTES_PER_MS,
        intra_host_bw=CPU_INTRA_HOST_GBPS * BYTES_PER_MS,
        inter_host_bw=CPU_INTER_HOST_GBPS * BYTES_PER_MS,
    )
