import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pipeline.installing.findings import Finding, findings_text, verdict
from pipeline.installing.imports import check_imports, probe_imports
from pipeline.installing.installation import PINS, check_packages, read_packages
from pipeline.installing.machine import check_machine

ROOT = Path(__file__).parents[2]
SOUND = {"torch": "2.13.0+cpu", "torchrec": "1.8.0", "fbgemm_gpu-cpu": "1.8.0", "torchmetrics": "1.0.3"}


def install(directory: Path, packages: dict[str, str], *, requires: tuple[str, ...] = ()) -> Path:
    """Writes the metadata that pip writes for the packages."""
    for name, version in packages.items():
        info = directory / f"{re.sub(r'[-.]', '_', name)}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {r}" for r in requires),
        ]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
    return directory


def examine(directory: Path, *, for_cuda: bool = False) -> list[Finding]:
    return check_packages(read_packages([str(directory)], pip="pip"), for_cuda=for_cuda)


def only(findings: list[Finding], severity: str) -> Finding:
    (found,) = [finding for finding in findings if finding.severity == severity]
    return found


def test_sound_environment_has_nothing_to_mend(tmp_path):
    (finding,) = examine(install(tmp_path, SOUND))
    assert finding.text == "torch 2.13.0+cpu, torchrec 1.8.0, fbgemm-gpu-cpu 1.8.0, torchmetrics 1.0.3"
    assert verdict([finding]) == "Jobs can run here."


def test_two_builds_of_fbgemm_are_fatal(tmp_path):
    found = only(examine(install(tmp_path, {**SOUND, "fbgemm_gpu": "1.8.0"})), "fatal")
    assert "fbgemm-gpu-cpu 1.8.0 and fbgemm-gpu 1.8.0 are both installed" in found.text
    assert found.mend == "pip uninstall -y fbgemm-gpu-cpu fbgemm-gpu && pip install --no-deps fbgemm-gpu-cpu==1.8.0"


@pytest.mark.parametrize(
    "change",
    [{"torch": "2.12.1"}, {"torchrec": "1.7.0"}, {"fbgemm_gpu-cpu": "1.9.0.dev20260801"}, {"torch": "2.14.0+cu130"}],
    ids=str,
)
def test_versions_that_do_not_match_are_fatal(tmp_path, change):
    found = only(examine(install(tmp_path, {**SOUND, **change})), "fatal")
    assert next(iter(change.values())) in found.text
    assert found.mend == "pip install torch==2.13.0 && pip install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0"


def test_another_matching_set_is_only_a_warning(tmp_path):
    later = {**SOUND, "torch": "2.14.0", "torchrec": "1.9.2", "fbgemm_gpu-cpu": "1.9.0"}
    assert "but Shardline is tested with torch==2.13.0" in only(examine(install(tmp_path, later)), "warning").text


@pytest.mark.parametrize("version", ["1.1.2", "1.9.0"])
def test_wrong_torchmetrics_is_fatal(tmp_path, version):
    found = only(examine(install(tmp_path, {**SOUND, "torchmetrics": version})), "fatal")
    assert found.text.startswith(f"torchmetrics {version} breaks every metric")
    assert found.mend == "pip install --no-deps torchmetrics==1.0.3"


@pytest.mark.parametrize("missing", ["torch", "torchrec", "fbgemm_gpu-cpu", "torchmetrics"])
def test_missing_package_is_fatal_and_named(tmp_path, missing):
    rest = {name: version for name, version in SOUND.items() if name != missing}
    found = only(examine(install(tmp_path, rest)), "fatal")
    assert "not installed" in found.text
    assert f"{missing.replace('_', '-')}==" in found.mend


def test_missing_requirement_of_our_own_is_fatal(tmp_path):
    install(tmp_path, SOUND)
    install(tmp_path, {"shardline": "0.1.0"}, requires=("polars>=1.20", 'furo; extra == "docs"', "torchmetrics==1.0.3"))
    assert only(examine(tmp_path), "fatal").mend == "pip install polars"


def test_record_left_behind_by_an_upgrade_is_fatal(tmp_path):
    install(tmp_path, SOUND)
    install(tmp_path, {"torchmetrics": "1.9.0"})
    found = next(finding for finding in examine(tmp_path) if finding.subject == "records")
    assert "torchmetrics is recorded 2 times" in found.text
    assert found.mend == "pip install --no-deps --force-reinstall torchmetrics==1.0.3"


@pytest.mark.parametrize(("build", "for_cuda"), [("fbgemm_gpu", False), ("fbgemm_gpu-cpu", True)])
def test_build_for_another_device_is_a_warning(tmp_path, build, for_cuda):
    packages = {name: version for name, version in SOUND.items() if "fbgemm" not in name} | {build: "1.8.0"}
    wanted = "fbgemm-gpu" if for_cuda else "fbgemm-gpu-cpu"
    found = only(examine(install(tmp_path, packages), for_cuda=for_cuda), "warning")
    assert found.mend.endswith(f"pip install --no-deps {wanted}==1.8.0")


def test_pins_are_those_of_the_requirement_files():
    lines = [line for path in (ROOT / "requirements").glob("*.txt") for line in path.read_text().splitlines()]
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert {name: pinned[name] for name in PINS} == PINS


def test_text_is_wrapped_but_a_line_to_type_is_not():
    mend = "pip install " + "x" * 200
    text = findings_text([Finding(subject="disk", severity="fatal", text="word " * 60, mend=mend)], width=100)
    *words, last = text.split("\n")
    assert words[0].startswith("FAIL  disk       word")
    assert max(map(len, words)) <= 100
    assert last.strip() == f"mend: {mend}"


def test_little_room_is_a_warning_and_no_room_for_files_is_told(tmp_path):
    found = {item.subject: item for item in check_machine(str(tmp_path / "new"), min_disk_gib=1e9, min_memory_gib=1e9)}
    assert found["disk"].severity == found["memory"].severity == "warning"
    assert found["python"].severity == "fine"


@pytest.fixture(scope="module")
def throwaway(tmp_path_factory) -> Path:
    """A virtual environment of its own whose packages are this one's, so that breaking it breaks nothing else."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False, symlinks=True)
    (site_packages,) = directory.glob("lib/python*/site-packages")
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("-packages"))]
    (site_packages / "borrowed.pth").write_text("\n".join(paths) + "\n")
    return directory


def doctor(
    environment: Path, *arguments: str, module: str = "pipeline.jobs.doctor"
) -> subprocess.CompletedProcess[str]:
    command = [str(environment / "bin" / "python"), "-m", module, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=clean, timeout=300, check=False)


def test_doctor_finds_a_sound_environment_sound(throwaway):
    done = doctor(throwaway, "doctor", "--device", "cpu", module="pipeline")
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch, gloo, FBGEMM, TorchRec work" in done.stdout
    assert "Jobs can run here" in done.stdout


def test_doctor_tells_of_a_torch_that_cannot_be_imported(throwaway):
    (site_packages,) = throwaway.glob("lib/python*/site-packages")
    broken = site_packages / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libtorch_cpu.so: undefined symbol: _ZN3c10')\n")
    install(site_packages, {"fbgemm_gpu": "1.8.0"})
    done = doctor(throwaway)
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAIL  torch      torch does not work: ImportError: libtorch_cpu.so: undefined symbol" in done.stdout
    assert "FAIL  fbgemm     fbgemm-gpu-cpu 1.8.0 and fbgemm-gpu 1.8.0 are both installed" in done.stdout
    assert "2 problems to mend before a job can run here." in done.stdout


def test_crash_while_importing_is_told_by_its_signal(throwaway):
    (site_packages,) = throwaway.glob("lib/python*/site-packages")
    (site_packages / "torch").mkdir(exist_ok=True)
    (site_packages / "torch" / "__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    probed = probe_imports(60, python=str(throwaway / "bin" / "python"))
    (found,) = check_imports(probed, python="python", for_cuda=False)
    assert found.text.startswith("torch does not work: Python was ended by SIGSEGV")


def test_directory_that_is_none_is_a_plain_mistake(throwaway, tmp_path):
    done = doctor(throwaway, "doctor", "--site_packages", str(tmp_path / "nowhere"), module="pipeline")
    assert done.returncode == 2
    assert "which is no directory" in done.stderr
    assert "Traceback" not in done.stderr
