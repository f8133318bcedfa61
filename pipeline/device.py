"""Where the job runs. The only place that asks whether there is a GPU."""

import torch

from data.errors import ConfigError


def choose_device(choice: str, local_rank: int) -> torch.device:
    """The device of one rank: `cuda` gives each local rank its own GPU, `auto` takes CUDA where it is there."""
    available = torch.cuda.is_available()
    if choice == "cpu" or (choice == "auto" and not available):
        return torch.device("cpu")
    if not available:
        raise ConfigError(
            "device is cuda, but torch sees no CUDA device; set device=cpu, or run `shardline doctor` to see what is missing."
        )
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"local rank {local_rank} has no GPU of its own: this host has {torch.cuda.device_count()}; start fewer ranks."
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def backend_of(device: torch.device) -> str:
    """The process group's backend: NCCL with gloo beside it for CPU tensors on CUDA, gloo on the CPU."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
