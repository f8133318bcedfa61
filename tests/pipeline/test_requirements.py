import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    """Version by name, of one requirement file and those that it includes."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line[3:])
        elif line and not line.startswith("#"):
            package, version = line.split("==")
            found[canonicalize_name(package)] = version
    return found


@pytest.mark.parametrize("name", ["cpu.txt", "cuda.txt"])
def test_what_the_code_imports_is_pinned_within_its_bounds(name):
    wanted = map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    pinned = pins(name)
    assert [str(item) for item in wanted if not item.specifier.contains(pinned[canonicalize_name(item.name)])] == []


def test_each_set_has_one_build_of_fbgemm_and_no_torchrec():
    assert [name for name in pins("cpu.txt") if "fbgemm" in name] == ["fbgemm-gpu-cpu"]
    assert [name for name in pins("cuda.txt") if "fbgemm" in name] == ["fbgemm-gpu"]
    assert "torchrec" not in pins("cpu.txt") | pins("cuda.txt") | pins("dev.txt")
    assert list(pins("torchrec.txt")) == ["torchrec"]


def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = {line.removeprefix(".PHONY: ") for line in makefile.splitlines() if line.startswith(".PHONY: ")}
    told = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in told.splitlines() if line.startswith("  make ")} == targets


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DEVICE=tpu", "train"], "DEVICE is tpu; expected cpu or cuda"),
        (["PYTHON=nosuch", "setup"], "There is no nosuch here"),
    ],
    ids=["device", "python"],
)
def test_make_says_what_is_wrong(tmp_path, arguments, message):
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "requirements").symlink_to(ROOT / "requirements")
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    done = subprocess.run(["make", "-C", str(tmp_path), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
