"""Preparing on a Ray cluster: the same bytes as with threads, and errors as they are."""

import signal
from pathlib import Path

import pytest

from data.config import GenerateConfig, PrepareConfig
from data.errors import ConfigError, DataError
from data.generating.generator import generate
from data.preparing.prepare import prepare

pytest.importorskip("ray", reason="Ray is not installed: pip install 'shardline[ray]'")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "rows.tsv"
    generate(GenerateConfig(output=str(path), num_rows=20_000))
    return path


def config_of(raw: Path, output: Path, **settings) -> PrepareConfig:
    small = {"row_group_rows": 512, "rows_per_part": 2048, "block_mib": 1, "show_progress": False}
    return PrepareConfig(source=str(raw), output=str(output), **(small | settings))


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ids", ["map", pytest.param("hash", marks=pytest.mark.full)])
def test_ray_and_threads_give_the_same_bytes(raw, tmp_path, ids):
    sizes = {"table_sizes": (1000,)} if ids == "hash" else {}
    prepare(config_of(raw, tmp_path / "threads", ids=ids, **sizes))
    # A MiB for counts, so that they go to files.
    prepare(config_of(raw, tmp_path / "ray", ids=ids, engine="ray", count_memory_mib=1, **sizes))
    assert tree(tmp_path / "ray") == tree(tmp_path / "threads")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # not Ray's


@pytest.mark.full
def test_bad_lines_stop_a_job_on_ray_with_their_account(raw, tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_bytes(raw.read_bytes() + b"oops\n")
    with pytest.raises(DataError, match="1 x wrong number of fields"):
        prepare(config_of(bad, tmp_path / "out", engine="ray"))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tsv"]


def test_cluster_that_is_not_there_is_the_users_mistake(raw, tmp_path):
    with pytest.raises(ConfigError, match="No Ray cluster answers at auto"):
        prepare(config_of(raw, tmp_path / "out", engine="ray", ray_address="auto"))
    with pytest.raises(ConfigError, match="ray_address is for"):
        config_of(raw, tmp_path / "out", ray_address="auto")
