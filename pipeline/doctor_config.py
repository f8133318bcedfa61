"""Settings of `shardline doctor`. Standard library only: this must load in a broken installation."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Say whether this installation is sound, and how to mend it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What the installation is for; `auto` means CUDA where the machine has an NVIDIA GPU."""
    site_packages: str | None = None
    """Check the packages in this directory instead of this environment's; nothing is imported from it."""
    work_dir: str = "artifacts"
    """Where data and runs are kept: the disk whose free space counts."""
    min_disk_gib: float = 5.0
    """Free disk below this is a warning, in GiB."""
    min_memory_gib: float = 4.0
    """Free memory below this is a warning, in GiB."""
    import_timeout_s: float = 180.0
    """How long importing torch, FBGEMM and TorchRec may take, in seconds."""
