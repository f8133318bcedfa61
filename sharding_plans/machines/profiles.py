"""Hardware profiles by the name or path that a user gives. Light: torch only where this machine itself is asked for."""

from pathlib import Path

from data.errors import PlanError
from sharding_plans.machines.hardware import HardwareProfile, profile_names, read_profile, shipped_profile
from sharding_plans.names import unknown_name

THIS_MACHINE = "this-machine"


def load_profile(name_or_path: str) -> HardwareProfile:
    """The profile of that name, of that YAML file, or (`this-machine`) of the machine this runs on.

    Raises PlanError when there is no such profile or the file is not one, naming keys that are missing, unknown or wrong.
    """
    if name_or_path == THIS_MACHINE:
        from sharding_plans.machines.this_machine import measure_this_machine

        return measure_this_machine(THIS_MACHINE)
    if name_or_path in profile_names():
        return shipped_profile(name_or_path)
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return read_profile(Path(name_or_path))
    raise PlanError(
        unknown_name("hardware profile", name_or_path, (*profile_names(), THIS_MACHINE))
        + " A YAML file of your own is given by its path."
    )
