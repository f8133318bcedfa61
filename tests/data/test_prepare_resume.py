"""A prepare job that is killed goes on where it was, and ends with the bytes of one that was left in peace."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from data.config import GenerateConfig, PrepareConfig, SplitConfig
from data.errors import DataError
from data.generating.generator import generate
from data.manifest import Manifest
from data.preparing.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
# Says when it starts to work, so that a kill hits the work and not the imports. Ctrl-C is heard even where tests run in the
# background, which a shell starts with that signal ignored.
CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from data.config import PrepareConfig, SplitConfig
from data.preparing.prepare import prepare
config = eval(sys.argv[1])
print("ready", flush=True)
prepare(config)
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "rows.tsv"
    generate(GenerateConfig(output=str(path), num_rows=60_000))
    return path


def config_of(raw: Path, output: Path, **settings) -> PrepareConfig:
    small = {
        "row_group_rows": 512,
        "rows_per_part": 2048,
        "block_mib": 1,
        "checkpoint_seconds": 0.0,
        "show_progress": False,
    }
    return PrepareConfig(source=str(raw), output=str(output), **(small | settings))


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def start(config: PrepareConfig) -> subprocess.Popen:
    child = subprocess.Popen([sys.executable, "-c", CHILD, repr(config)], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    return child


def run_and_kill(config: PrepareConfig, seconds: float) -> bool:
    """Whether the job was killed before it ended by itself."""
    child = start(config)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def kill_often(config: PrepareConfig, num_kills: int, seed: int) -> None:
    """Kill the job at random moments, some early and some late in what is left of it, and then let it end."""
    draws = random.Random(seed)
    started = time.monotonic()
    assert start(replace(config, output=f"{config.output}-timed")).wait() == 0
    whole = time.monotonic() - started
    killed = 0
    while killed < num_kills:
        if run_and_kill(config, draws.uniform(0, draws.choice([0.1, 0.4, 1.0]) * whole)):
            killed += 1
        if Path(config.output).exists():  # ended, if only just before the kill: then it is whole
            Manifest.load(config.output).verify(config.output)
            shutil.rmtree(config.output)
    prepare(config)


def test_killed_twice_the_bytes_are_those_of_an_undisturbed_run(raw, tmp_path):
    prepare(config_of(raw, tmp_path / "whole"))
    kill_often(config_of(raw, tmp_path / "killed"), 2, seed=0)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    assert not list(tmp_path.glob("*.preparing"))


@pytest.mark.full
@pytest.mark.parametrize(
    "settings",
    [{}, {"ids": "hash", "table_sizes": (1000,)}, {"split": SplitConfig(by="fold")}, {"count_memory_mib": 1}],
)
def test_killed_20_times_the_bytes_are_those_of_an_undisturbed_run(raw, tmp_path, settings):
    prepare(config_of(raw, tmp_path / "whole", **settings))
    kill_often(config_of(raw, tmp_path / "killed", **settings), 20, seed=1)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


@pytest.fixture
def interrupted(raw, tmp_path):
    """The workplace of a job that Ctrl-C stopped in the second pass, when some parts were whole."""
    config = config_of(raw, tmp_path / "out")
    workplace = tmp_path / "out.preparing"
    for _ in range(50):
        child = start(config)
        while child.poll() is None and not list(workplace.glob("train/part-00005*")):
            time.sleep(0.002)
        child.send_signal(signal.SIGINT)
        child.wait()
        if workplace.exists():
            return workplace
        shutil.rmtree(tmp_path / "out")
    pytest.fail("the job always ended before it could be stopped")


def test_whole_parts_are_kept_after_ctrl_c(raw, tmp_path, interrupted, caplog):
    caplog.set_level("INFO")
    inodes = {path.name: path.stat().st_ino for path in (interrupted / "train").iterdir()}
    manifest = prepare(config_of(raw, tmp_path / "out"))
    kept = [name for name, inode in inodes.items() if (tmp_path / "out/train" / name).stat().st_ino == inode]
    assert "part-00000.parquet" in kept
    assert "finished parts are intact and kept" in caplog.text
    manifest.verify(tmp_path / "out")
    assert tree(tmp_path / "out") == tree_of_undisturbed(raw, tmp_path)


def test_altered_part_is_written_again(raw, tmp_path, interrupted, caplog):
    part = interrupted / "train/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    prepare(config_of(raw, tmp_path / "out"))
    assert "was altered since it was written" in caplog.text
    assert tree(tmp_path / "out") == tree_of_undisturbed(raw, tmp_path)


@pytest.mark.parametrize("name", ["writing.state", "counted.state"])
def test_damaged_note_costs_time_and_nothing_else(raw, tmp_path, interrupted, caplog, name):
    note = interrupted / name
    note.write_bytes(note.read_bytes()[:-1] + b"x")
    prepare(config_of(raw, tmp_path / "out"))
    assert "is damaged" in caplog.text
    assert tree(tmp_path / "out") == tree_of_undisturbed(raw, tmp_path)


def test_other_settings_or_another_source_begin_anew(raw, tmp_path, interrupted, caplog):
    caplog.set_level("INFO")
    manifest = prepare(config_of(raw, tmp_path / "out", min_count=3))
    assert "Going on" not in caplog.text
    assert manifest.settings["min_count"] == 3
    assert len(tree(tmp_path / "out")) == 1 + 26 + sum(len(split.parts) for split in manifest.splits.values())


def test_source_changed_after_the_kill_begins_anew(raw, tmp_path, interrupted, caplog):
    caplog.set_level("INFO")
    os.utime(raw)
    prepare(config_of(raw, tmp_path / "out"))
    assert "Going on" not in caplog.text
    assert tree(tmp_path / "out") == tree_of_undisturbed(raw, tmp_path)


def test_second_job_on_the_same_output_is_refused(raw, tmp_path):
    (tmp_path / "out.preparing").mkdir()
    descriptor = os.open(tmp_path / "out.preparing", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(DataError, match=r"Another process is preparing .*out at this moment"):
        prepare(config_of(raw, tmp_path / "out"))
    os.close(descriptor)
    assert prepare(config_of(raw, tmp_path / "out")) == Manifest.load(tmp_path / "out")


# A MiB for counts: they go to files again and again.
FEW_COUNTS = {"count_memory_mib": 1}


def test_counts_in_files_give_the_bytes_of_counts_in_memory(raw, tmp_path):
    hashed = {"ids": "hash", "table_sizes": (100_000,)}
    for settings in ({}, hashed):
        prepare(config_of(raw, tmp_path / "memory", **settings))
        prepare(config_of(raw, tmp_path / "files", **settings, **FEW_COUNTS))
        assert tree(tmp_path / "files") == tree(tmp_path / "memory")
        shutil.rmtree(tmp_path / "memory")
        shutil.rmtree(tmp_path / "files")


@pytest.fixture
def killed_while_spilling(raw, tmp_path):
    """The files of counts of a job that was killed when there were some."""
    child = start(config_of(raw, tmp_path / "out", **FEW_COUNTS))
    folder = tmp_path / "out.preparing/counts/counting"
    while child.poll() is None and len(list(folder.glob("*.arrow"))) < 20:
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    return folder


def test_job_killed_while_it_moves_counts_to_files_goes_on(raw, tmp_path, killed_while_spilling, caplog):
    caplog.set_level("INFO")
    # What a kill can leave: half of a file, and a whole one that no note names.
    (killed_while_spilling / "000900.partial").write_bytes(b"half")
    shutil.copy(min(killed_while_spilling.glob("*.arrow")), killed_while_spilling / "000901.arrow")
    prepare(config_of(raw, tmp_path / "out", **FEW_COUNTS))
    assert "Going on" in caplog.text
    assert "altered" not in caplog.text
    assert tree(tmp_path / "out") == tree_of_undisturbed(raw, tmp_path)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_counts_that_were_altered_are_counted_again(raw, tmp_path, killed_while_spilling, caplog, damage):
    damage(min(killed_while_spilling.glob("*.arrow")))
    prepare(config_of(raw, tmp_path / "out", **FEW_COUNTS))
    assert "Counts of ids were altered since they were written" in caplog.text
    assert tree(tmp_path / "out") == tree_of_undisturbed(raw, tmp_path)


def tree_of_undisturbed(raw: Path, tmp_path: Path) -> dict[str, bytes]:
    prepare(config_of(raw, tmp_path / "undisturbed"))
    return tree(tmp_path / "undisturbed")
