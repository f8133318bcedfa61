"""The machine this runs on as a hardware profile: memory read from the system, bandwidths measured or known by the GPU's name."""

import socket
import threading
from dataclasses import replace
from time import perf_counter

import torch

from sharding_plans.machines.hardware import HardwareProfile, shipped_profile
from sharding_plans.machines.topology import GIB, host_memory

# Names by which CUDA knows the GPUs whose bandwidths a shipped profile has; memory tells the variants apart.
_KNOWN_GPUS = {
    ("B200", 160): "b200_sxm_180gb",
    ("H200", 120): "h200_sxm_141gb",
    ("H100 80GB HBM3", 70): "h100_sxm_80gb",
    ("A100-SXM4-80GB", 70): "a100_sxm_80gb",
    ("A100-SXM4-40GB", 30): "a100_sxm_40gb",
    ("V100-SXM2-32GB", 30): "v100_sxm_32gb",
    ("V100-SXM2-16GB", 14): "v100_sxm_16gb",
    ("L4", 20): "l4_24gb",
    ("T4", 14): "t4_16gb",
    ("RTX 3050", 7): "rtx_3050_8gb",
}


_CPU_RANKS = 16


def measure_this_machine(name: str) -> HardwareProfile:
    """The profile of this machine, under the given name.

    With a CUDA device: its memory as the driver reports it, its bandwidths from the shipped profile of the same GPU (an
    unknown GPU's memory bandwidth is measured by copying). Without one: a CPU host, whose memory and loopback bandwidths are
    measured; it takes as many ranks as asked for, at least 16, for there is no second host.
    """
    return _gpu_profile(name) if torch.cuda.is_available() else _cpu_profile(name)


def _cpu_profile(name: str) -> HardwareProfile:
    memory, loopback = copy_gb_per_s("cpu"), loopback_gb_per_s()
    return HardwareProfile(
        name=name,
        description="this machine's CPU; memory and loopback bandwidth measured just now",
        device="cpu",
        ranks_per_host=max(_CPU_RANKS, torch.get_num_threads()),
        hbm_gib=0,
        hbm_gb_per_s=0,
        host_memory_gib=round(host_memory() / GIB, 2),
        host_memory_gb_per_s=memory,
        host_link_gb_per_s=memory,
        intra_host_gb_per_s=loopback,
        inter_host_gb_per_s=loopback,
    )


def _gpu_profile(name: str) -> HardwareProfile:
    device = torch.cuda.get_device_properties(0)
    like = _profile_like(device.name, device.total_memory / GIB)
    base = shipped_profile(like or "rtx_3050_8gb")
    return replace(
        base,
        name=name,
        description=f"this machine: {torch.cuda.device_count()} x {device.name}"
        + (f", bandwidths of {like}" if like else ", unknown GPU: memory bandwidth measured, links as a desktop's"),
        ranks_per_host=torch.cuda.device_count(),
        hbm_gib=round(device.total_memory / GIB, 2),
        hbm_gb_per_s=base.hbm_gb_per_s if like else copy_gb_per_s("cuda"),
        host_memory_gib=round(host_memory() / GIB, 2),
    )


def _profile_like(gpu: str, hbm_gib: float) -> str | None:
    matches = [(len(part), name) for (part, least), name in _KNOWN_GPUS.items() if part in gpu and hbm_gib >= least]
    return max(matches)[1] if matches else None


def copy_gb_per_s(device: str, *, mib: int = 128, repeats: int = 5) -> float:
    """Bytes read and written a second, in GB/s, by copying a tensor: the best of a few copies."""
    source = torch.ones(mib * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(repeats):
        start = perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, perf_counter() - start)
    return round(2 * source.numel() / best / 1e9, 2)


def loopback_gb_per_s(*, mib: int = 128) -> float:
    """How fast one process can send to another of this machine over TCP, as gloo does, in GB/s."""
    payload, total = bytes(2**20), mib * 2**20
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        thread = threading.Thread(target=_drain, args=(receiver, total))
        start = perf_counter()
        thread.start()
        for _ in range(mib):
            sender.sendall(payload)
        thread.join()
        seconds = perf_counter() - start
        receiver.close()
    return round(total / seconds / 1e9, 2)


def _drain(receiver: socket.socket, total: int) -> None:
    buffer, left = bytearray(2**20), total
    while left > 0:
        received = receiver.recv_into(buffer)
        if not received:
            return
        left -= received
