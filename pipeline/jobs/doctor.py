"""Whether the installation is sound, in one screen. `python -m pipeline.jobs.doctor` needs no package at all."""

import os
import shutil
import sys
from pathlib import Path

from data.errors import ConfigError
from pipeline.doctor_config import DoctorConfig
from pipeline.installing.findings import Finding, findings_text, verdict
from pipeline.installing.imports import check_imports, probe_imports
from pipeline.installing.installation import check_packages, read_packages
from pipeline.installing.machine import check_machine, has_nvidia_gpu


def run(config: DoctorConfig) -> int:
    """0 where jobs can run, 1 where something must be mended first."""
    for_cuda = config.device == "cuda" or (config.device == "auto" and has_nvidia_gpu())
    findings = _packages(config, for_cuda)
    if config.site_packages is None:
        findings += check_imports(probe_imports(config.import_timeout_s), python=_python(), for_cuda=for_cuda)
        findings += check_machine(
            config.work_dir, min_disk_gib=config.min_disk_gib, min_memory_gib=config.min_memory_gib
        )
    print(findings_text(findings, width=min(shutil.get_terminal_size((110, 24)).columns, 130)))
    print(f"\n{verdict(findings)}")
    return 1 if any(finding.severity == "fatal" for finding in findings) else 0


def _packages(config: DoctorConfig, for_cuda: bool) -> list[Finding]:
    if config.site_packages is None:
        return check_packages(read_packages(sys.path, pip=f"{_python()} -m pip"), for_cuda=for_cuda)
    if not Path(config.site_packages).is_dir():
        raise ConfigError(
            f"site_packages is {config.site_packages}, which is no directory; expected one that holds installed packages, "
            "such as .venv/lib/python3.11/site-packages."
        )
    return check_packages(read_packages([config.site_packages], pip="pip"), for_cuda=for_cuda)


def _python() -> str:
    """This Python as one would type it: relative to here where that is shorter."""
    return min(sys.executable, os.path.relpath(sys.executable), key=len)


if __name__ == "__main__":
    sys.exit(run(DoctorConfig()))
