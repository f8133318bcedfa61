"""Hardware profiles: the figures of one kind of host that the planner needs, from a YAML file. Light: no torch here.

GiB is 2**30 bytes, GB is 10**9 bytes. Bandwidths are one way, as a transfer sees them; vendors often print both ways together.
"""

from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from data.errors import PlanError
from sharding_plans.names import unknown_name

Device = Literal["cuda", "cpu"]
PROFILES_DIR = Path(__file__).parents[1] / "hardware"


@dataclass(frozen=True, kw_only=True)
class HardwareProfile:
    """One kind of host: how many ranks it carries, how much memory they have, how fast bytes move."""

    name: str
    """Short name, as on the command line."""
    description: str
    """One line for reports."""
    device: Device
    """What a rank computes on."""
    ranks_per_host: int
    """Ranks (GPUs, or CPU processes) of a full host."""
    hbm_gib: float
    """Memory of one GPU, GiB; 0 for a CPU."""
    hbm_gb_per_s: float
    """Bandwidth of one GPU's memory, GB/s; 0 for a CPU."""
    host_memory_gib: float
    """Memory of the host, GiB, shared by its ranks."""
    host_memory_gb_per_s: float
    """Bandwidth of the host's memory, GB/s, shared by its ranks."""
    host_link_gb_per_s: float
    """Bandwidth between one GPU and host memory (PCIe or better), GB/s."""
    intra_host_gb_per_s: float
    """Bandwidth from one rank to the others of its host, GB/s."""
    inter_host_gb_per_s: float
    """Bandwidth from one rank to other hosts, GB/s."""
    price_per_rank_hour: float | None = None
    """What one rank costs an hour, in any currency; none: no cost is worked out. No profile that we ship sets it."""
    calibration: dict[str, Any] | None = None
    """The cost model that `shardline calibrate` fitted to this machine; none: TorchRec's own estimates."""

    def __post_init__(self) -> None:
        problems = [*self._wrong_types(), *self._wrong_values()]
        if problems:
            raise PlanError(f"Hardware profile {self.name}: " + "; ".join(problems) + ".")

    def _wrong_types(self) -> list[str]:
        if self.device not in get_args(Device):
            return [f"device is {self.device!r}, expected cuda or cpu"]
        return []

    def _wrong_values(self) -> list[str]:
        may_be_zero = {"hbm_gib", "hbm_gb_per_s"} if self.device == "cpu" else set()
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and (value < 0 or (value == 0 and field.name not in may_be_zero)):
                found.append(f"{field.name} is {value:g}, expected a figure above 0")
        return found


def profile_names() -> tuple[str, ...]:
    """The names of the profiles that come with Shardline."""
    return tuple(sorted(path.stem for path in PROFILES_DIR.glob("*.yaml")))


def shipped_profile(name: str) -> HardwareProfile:
    """The profile of that name that comes with Shardline."""
    return read_profile(PROFILES_DIR / f"{name}.yaml")


def profile_from_dict(values: Any, *, origin: str) -> HardwareProfile:
    """The profile that a mapping describes; PlanError names `origin` and every key that is missing, unknown or no number."""
    if not isinstance(values, dict):
        raise PlanError(f"{origin} is no hardware profile: expected keys and values, found {type(values).__name__}.")
    known = {field.name: field for field in fields(HardwareProfile)}
    problems = [unknown_name("key", str(key), known) for key in values if key not in known]
    missing = [name for name, field in known.items() if field.default is MISSING and name not in values]
    if missing:
        problems.append(f"These keys are missing: {', '.join(missing)}.")
    problems += [problem for key, value in values.items() if (problem := _wrong_kind(known, key, value))]
    if problems:
        raise PlanError(f"{origin} is no complete hardware profile. " + " ".join(problems))
    try:
        return HardwareProfile(**values)
    except PlanError as error:
        raise PlanError(f"{origin}: {error}") from error


def profile_to_dict(profile: HardwareProfile) -> dict[str, Any]:
    """The profile as a mapping that `profile_from_dict` takes back unchanged; without a calibration, without that key."""
    values = asdict(profile)
    return values if profile.calibration is not None else {k: v for k, v in values.items() if k != "calibration"}


def read_profile(path: Path) -> HardwareProfile:
    """The profile that a YAML file holds; PlanError when it cannot be read or is none, naming what is wrong."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"The hardware profile {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise PlanError(f"The hardware profile {path} is not YAML: {error}") from error
    return profile_from_dict(values, origin=str(path))


def _wrong_kind(known: dict[str, Any], key: Any, value: Any) -> str | None:
    if key not in known or (key in ("price_per_rank_hour", "calibration") and value is None):
        return None
    if key == "calibration":
        return None if isinstance(value, dict) else f"calibration is {value!r}, expected keys and values."
    if key in ("name", "description", "device"):
        return None if isinstance(value, str) else f"{key} is {value!r}, expected text."
    wanted = int if key == "ranks_per_host" else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        return f"{key} is {value!r}, expected a {'whole number' if wanted is int else 'number'}."
    return None if value == value and abs(value) != float("inf") else f"{key} is {value!r}, expected a finite number."
