"""From a hardware profile to TorchRec's topology: the one place where GiB and GB/s become bytes and bytes per millisecond."""

import math

from torchrec.distributed.planner.types import HardwareConfig, KernelConfig, Topology, TopologyFactory, TrainerConfig

from data.errors import PlanError
from sharding_plans.machines.hardware import HardwareProfile
from sharding_plans.machines.topology import BYTES_PER_MS, GIB


def topology_of(profile: HardwareProfile, num_ranks: int) -> Topology:
    """The topology of `num_ranks` ranks on hosts of that profile; PlanError when they would leave a host partly used.

    A host's memory and its bandwidth are shared out evenly over the ranks that run on it.
    """
    per_host = ranks_per_host(profile, num_ranks)
    return TopologyFactory.create_topology(
        TrainerConfig(world_size=num_ranks, local_world_size=per_host),
        HardwareConfig(
            hbm_cap_bytes=int(profile.hbm_gib * GIB),
            ddr_cap_bytes=int(profile.host_memory_gib * GIB / per_host),
            ssd_cap_bytes=0,
            hbm_mem_bw=_bytes_per_ms(profile.hbm_gb_per_s or profile.host_memory_gb_per_s / per_host),
            ddr_mem_bw=_bytes_per_ms(profile.host_memory_gb_per_s / per_host),
            hbm_to_ddr_mem_bw=_bytes_per_ms(profile.host_link_gb_per_s),
            intra_host_bw=_bytes_per_ms(profile.intra_host_gb_per_s),
            inter_host_bw=_bytes_per_ms(min(profile.inter_host_gb_per_s, profile.intra_host_gb_per_s)),
        ),
        KernelConfig(compute_device=profile.device, use_hardware_based_bandwidth=True),
    )


def ranks_per_host(profile: HardwareProfile, num_ranks: int) -> int:
    """How many of `num_ranks` ranks share a host; PlanError unless they fill whole hosts (or only part of the first)."""
    if num_ranks < 1:
        raise PlanError(f"The number of ranks is {num_ranks}; it must be at least 1.")
    if num_ranks <= profile.ranks_per_host:
        return num_ranks
    if num_ranks % profile.ranks_per_host:
        full = profile.ranks_per_host
        below, above = num_ranks // full * full, math.ceil(num_ranks / full) * full
        raise PlanError(
            f"{num_ranks} ranks do not fill hosts of {full} ({profile.name}); TorchRec needs as many ranks on every host. "
            f"Take {below} or {above}."
        )
    return profile.ranks_per_host


def usable_rank_counts(profile: HardwareProfile, up_to: int) -> tuple[int, ...]:
    """Ascending numbers of ranks worth trying: powers of two and the whole first host, then 2, 3, 4, 6, 8, 12, 16 ... hosts."""
    full = profile.ranks_per_host
    within = {2**k for k in range(full.bit_length()) if 2**k <= full} | {full}
    hosts = {2**k for k in range(1, 24)} | {3 * 2**k for k in range(24)}
    return tuple(sorted(n for n in within | {full * count for count in hosts} if n <= up_to))


def _bytes_per_ms(gb_per_s: float) -> float:
    return gb_per_s * BYTES_PER_MS
