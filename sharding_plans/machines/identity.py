"""Which machine this is, for records that are compared over time."""

import os
from typing import Any

import torch

from models.processor import processor_name
from sharding_plans.machines.topology import GIB, host_memory


def machine_facts() -> dict[str, Any]:
    """What figures of speed depend on: processor, cores open to this process, memory, GPUs. No host name."""
    facts: dict[str, Any] = {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads_per_rank": torch.get_num_threads(),
        "memory_gib": round(host_memory() / GIB, 1),
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return facts
