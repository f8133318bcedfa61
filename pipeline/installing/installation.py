"""Whether the packages of an environment belong together, read from their metadata alone: nothing is imported.

TorchRec and FBGEMM 1.N are built for torch 2.(N+5) (TorchRec's release table: 1.0 for 2.5, 1.8 for 2.13). FBGEMM comes in builds
that install the same files, so two of them in one environment overwrite each other. Standard library only.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

from pipeline.installing.findings import Finding

PINS = {
    "torch": "2.13.0",
    "torchrec": "1.8.0",
    "fbgemm-gpu-cpu": "1.8.0",
    "fbgemm-gpu": "1.8.0",
    "torchmetrics": "1.0.3",
}
FBGEMM_BUILDS = ("fbgemm-gpu-cpu", "fbgemm-gpu", "fbgemm-gpu-nightly-cpu", "fbgemm-gpu-nightly")
TORCH_MINOR_AHEAD = 5


@dataclass(frozen=True, kw_only=True)
class Packages:
    """The distributions of an environment, and what to type there."""

    versions: dict[str, str]
    """Version by normalized name; of several records the first."""
    num_records: dict[str, int]
    """Records by name in one directory; more than one is a broken upgrade."""
    requirements: tuple[str, ...]
    """Names that Shardline's own metadata asks for."""
    pip: str
    """How pip is called there."""

    @property
    def fbgemm_builds(self) -> list[str]:
        return [name for name in FBGEMM_BUILDS if name in self.versions]


def read_packages(paths: Sequence[str], *, pip: str) -> Packages:
    """The packages found on `paths`, in the order in which Python would search them."""
    versions: dict[str, str] = {}
    records: Counter[tuple[str, str]] = Counter()
    requirements: set[str] = set()
    for found in distributions(path=list(paths)):
        name = normalized(found.metadata["Name"] or "")
        versions.setdefault(name, found.version)
        records[name, str(found.locate_file(""))] += 1
        if name == "shardline":
            requirements.update(_required(found))
    num_records = {name: count for (name, _), count in records.items() if count > 1}
    return Packages(versions=versions, num_records=num_records, requirements=tuple(sorted(requirements)), pip=pip)


def check_packages(packages: Packages, *, for_cuda: bool) -> list[Finding]:
    """What is wrong with the packages, each with its mend; one finding that all is well where nothing is."""
    findings = [
        *_one_fbgemm(packages, for_cuda),
        *_matching_versions(packages, for_cuda),
        *_right_torchmetrics(packages),
        *_single_records(packages),
        *_nothing_missing(packages),
    ]
    if any(finding.severity == "fatal" for finding in findings):
        return findings
    named = [
        f"{name} {packages.versions[name]}" for name in ("torch", "torchrec", *packages.fbgemm_builds, "torchmetrics")
    ]
    return [Finding(subject="packages", text=", ".join(named)), *findings]


def normalized(name: str) -> str:
    """A distribution's name as pip compares it (PEP 503): fbgemm_gpu-cpu is fbgemm-gpu-cpu."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(shardline: Distribution) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in shardline.requires or () if "extra ==" not in line)
    return {normalized(name[0]) for name in names if name}


def _wanted_fbgemm(for_cuda: bool) -> str:
    return "fbgemm-gpu" if for_cuda else "fbgemm-gpu-cpu"


def _pinned(name: str) -> str:
    return f"{name}=={PINS[name]}"


def _one_fbgemm(packages: Packages, for_cuda: bool) -> list[Finding]:
    builds, wanted = packages.fbgemm_builds, _wanted_fbgemm(for_cuda)
    install = f"{packages.pip} install --no-deps {_pinned(wanted)}"
    if not builds:
        return [Finding(subject="fbgemm", severity="fatal", text="FBGEMM is not installed.", mend=install)]
    swap = f"{packages.pip} uninstall -y {' '.join(builds)} && {install}"
    if len(builds) > 1:
        found = " and ".join(f"{name} {packages.versions[name]}" for name in builds)
        text = f"{found} are both installed. They are builds of one package and overwrite each other's files; keep one."
        return [Finding(subject="fbgemm", severity="fatal", text=text, mend=swap)]
    if for_cuda == builds[0].endswith("cpu"):
        text = (
            "the CPU build, so a GPU stays unused." if for_cuda else "the CUDA build, on a machine meant for CPU jobs."
        )
        return [Finding(subject="fbgemm", severity="warning", text=f"{builds[0]} is {text}", mend=swap)]
    return []


def _minor(version: str) -> tuple[int, int]:
    """Major and minor number: (2, 13) of 2.13.0+cpu."""
    numbers = re.findall(r"\d+", version)
    return int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0


def _matching_versions(packages: Packages, for_cuda: bool) -> list[Finding]:
    fbgemm = packages.fbgemm_builds[0] if packages.fbgemm_builds else _wanted_fbgemm(for_cuda)
    trio = {name: packages.versions.get(name) for name in ("torch", "torchrec", fbgemm)}
    build = fbgemm if fbgemm in PINS else _wanted_fbgemm(for_cuda)
    mend = f"{packages.pip} install {_pinned('torch')} && {packages.pip} install --no-deps {_pinned('torchrec')} {_pinned(build)}"
    missing = [name for name in ("torch", "torchrec") if not trio[name]]
    if missing:
        text = f"{' and '.join(missing)} not installed."
        return [Finding(subject="versions", severity="fatal", text=text, mend=mend)]
    found = ", ".join(f"{name} {version}" for name, version in trio.items() if version)
    if not _belong_together(trio["torch"] or "", trio["torchrec"] or "", trio[fbgemm]):
        text = f"{found} do not belong together: TorchRec and FBGEMM 1.N need torch 2.(N+{TORCH_MINOR_AHEAD})."
        return [Finding(subject="versions", severity="fatal", text=text, mend=mend)]
    if any(version and version.split("+")[0] != PINS.get(name, "") for name, version in trio.items()):
        pinned = ", ".join(_pinned(name) for name in ("torch", "torchrec", build))
        text = f"{found} belong together, but Shardline is tested with {pinned}."
        return [Finding(subject="versions", severity="warning", text=text, mend=mend)]
    return []


def _belong_together(torch: str, torchrec: str, fbgemm: str | None) -> bool:
    major, minor = _minor(torchrec)
    fits_torch = _minor(torch) == (major + 1, minor + TORCH_MINOR_AHEAD)
    return fits_torch and (fbgemm is None or _minor(fbgemm) == (major, minor))


def _right_torchmetrics(packages: Packages) -> list[Finding]:
    version, pin = packages.versions.get("torchmetrics"), PINS["torchmetrics"]
    if version == pin:
        return []
    what = (
        "is not installed." if version is None else f"{version} breaks every metric of TorchRec; its own pin is {pin}."
    )
    mend = f"{packages.pip} install --no-deps {_pinned('torchmetrics')}"
    return [Finding(subject="metrics", severity="fatal", text=f"torchmetrics {what}", mend=mend)]


def _single_records(packages: Packages) -> list[Finding]:
    return [
        Finding(
            subject="records",
            severity="fatal" if name in PINS else "warning",
            text=f"{name} is recorded {count} times in one directory: an upgrade was cut off, and files of both may be mixed.",
            mend=f"{packages.pip} install --no-deps --force-reinstall {_pinned(name) if name in PINS else name}",
        )
        for name, count in sorted(packages.num_records.items())
    ]


def _nothing_missing(packages: Packages) -> list[Finding]:
    missing = [name for name in packages.requirements if name not in packages.versions and name != "torchmetrics"]
    if not missing:
        return []
    return [
        Finding(
            subject="packages",
            severity="fatal",
            text=f"not installed: {', '.join(missing)}.",
            mend=f"{packages.pip} install {' '.join(missing)}",
        )
    ]
