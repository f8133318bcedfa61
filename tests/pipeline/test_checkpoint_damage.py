"""Thirty ways for a checkpoint to be damaged or made up: each is recognised, nothing is executed, nothing is overwritten."""

import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import CheckpointError
from pipeline.checkpoint_config import CheckpointConfig
from pipeline.checkpointing.choosing import last_good
from pipeline.checkpointing.files import describe
from pipeline.checkpointing.meta import check_same_tables, read_meta
from pipeline.checkpointing.saving import Saver
from pipeline.checkpointing.tensors import read_whole, training_state
from pipeline.cli import main
from tests.pipeline.checkpoint_moves import Place, meta_of_step, model_in, ranks_here

META, INDEX, DATA = "checkpoint.json", "state/.metadata", "state/__0_0.distcp"
Damage = Callable[[Path], None]


class Malice:
    """Unpickled, it makes a directory: the sign that it was executed."""

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._sign),)


def _truncate(name: str, keep: float) -> Damage:
    def damage(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(len(content) * keep)])

    return damage


def _flip(name: str, place: float) -> Damage:
    def damage(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[int(len(content) * place)] ^= 0x40
        (path / name).write_bytes(bytes(content))

    return damage


def _replace(name: str, content: bytes) -> Damage:
    def damage(path: Path) -> None:
        (path / name).write_bytes(content)

    return damage


def _remove(name: str) -> Damage:
    return lambda path: (path / name).unlink()


def _loop(name: str) -> Damage:
    def damage(path: Path) -> None:
        target = path / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        target.symlink_to(target.name)

    return damage


def _meta(**changes: Any) -> Damage:
    def damage(path: Path) -> None:
        content = json.loads((path / META).read_text())
        content.update(changes)
        (path / META).write_text(json.dumps({key: value for key, value in content.items() if value != "gone"}))

    return damage


def _remove_all_but_meta(path: Path) -> None:
    shutil.rmtree(path / "state")


def _empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


DAMAGES: dict[str, Damage] = {
    **{f"{name} cut to {keep:.0%}": _truncate(name, keep) for name in (META, INDEX, DATA) for keep in (0.0, 0.4, 0.99)},
    **{f"{name} flipped at {at:.0%}": _flip(name, at) for name in (INDEX, DATA) for at in (0.01, 0.3, 0.6, 0.97)},
    **{f"{name} missing": _remove(name) for name in (INDEX, DATA)},
    **{f"{name} a symlink to itself": _loop(name) for name in (META, INDEX, "state")},
    "state missing": _remove_all_but_meta,
    "an empty directory": _empty,
    "meta is a list": _replace(META, b"[1, 2]"),
    "meta is not UTF-8": _replace(META, b"\xff\xfe{}"),
    "meta is nested too deep": _replace(META, b"[" * 200_000),
    "meta without a step": _meta(step="gone"),
    "meta with a step in words": _meta(step="three"),
    "meta with no files": _meta(files={}),
    "meta with unknown keys": _meta(unknown=1),
    "files of the wrong kind": _meta(files={DATA: 3}),
    "newer format": _meta(format=99),
}


def save_two(directory: Path) -> None:
    """Two checkpoints on one rank, steps 1 and 2, of the same weights."""
    model, optimizer = model_in(Place("adagrad", "table_wise", 1))
    saver = Saver(directory / "checkpoints", CheckpointConfig(), ranks_here())
    for step in (1, 2):
        saver.save(meta_of_step(step), training_state(model, optimizer))


@pytest.fixture(scope="module")
def whole(run_on_ranks: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    run_on_ranks(1, save_two, run)
    return run


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, also after a job in this process has set its own handlers."""
    logger = logging.getLogger("pipeline.checkpointing.choosing")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_there_are_thirty_damages():
    assert len(DAMAGES) + 3 >= 30


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_recognised_and_the_last_good_one_taken(
    damage: Damage, run: Path, told: pytest.LogCaptureFixture
):
    good, bad = run / "checkpoints" / "step-00000001", run / "checkpoints" / "step-00000002"
    damage(bad)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    assert last_good(run) == good
    assert "step-00000002" in told.text
    assert f"going back to {good}" in told.text
    with pytest.raises(CheckpointError):
        last_good(bad)
    assert main(["checkpoint", "verify", str(bad)]) == 2
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_without_any_good_checkpoint_every_problem_is_named(run: Path):
    for step in (1, 2):
        _flip(DATA, 0.5)(run / "checkpoints" / f"step-0000000{step}")
    with pytest.raises(CheckpointError, match=r"no checkpoint that is whole.*step-00000002.*step-00000001"):
        last_good(run)


def test_a_checkpoint_of_another_model_is_named_table_by_table(run: Path):
    path = run / "checkpoints" / "step-00000002"
    _meta(tables={"t0": [3, 16], "t1": [40, 16]})(path)
    with pytest.raises(CheckpointError, match="t1: 40 rows x 16 in the checkpoint, 41 rows x 16 in the model"):
        check_same_tables(path, read_meta(path), {"t0": [3, 16], "t1": [41, 16]})


def _resealed(path: Path, name: str, content: bytes) -> None:
    """As an attacker would: the file replaced, its checksum too."""
    (path / name).write_bytes(content)
    files = json.loads((path / META).read_text())["files"]
    _meta(files={**files, name: describe(path / name)})(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_planted_pickle_in_the_index_is_not_executed(run: Path, tmp_path: Path, protocol: int):
    path, sign = run / "checkpoints" / "step-00000002", tmp_path / "executed"
    _resealed(path, INDEX, pickle.dumps(Malice(sign), protocol=protocol))
    assert last_good(path) == path  # its checksums are right: only the reader stands in the way
    with pytest.raises(CheckpointError, match=r"asks for posix.mkdir, which no checkpoint needs"):
        read_whole(path, "model.")
    assert main(["checkpoint", "export", str(path), f"--out={tmp_path / 'model.pt'}"]) == 2
    assert not sign.exists()


def test_a_planted_pickle_in_the_tensors_is_not_executed(run: Path, tmp_path: Path):
    path, sign = run / "checkpoints" / "step-00000002", tmp_path / "executed"
    torch.save(Malice(sign), tmp_path / "planted")
    planted, size = (tmp_path / "planted").read_bytes(), (path / DATA).stat().st_size
    _resealed(path, DATA, planted + b"\0" * (size - len(planted)))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_whole(path, "model.")
    assert not sign.exists()


def test_an_entry_that_is_no_tensor_is_refused(run: Path, tmp_path: Path):
    path = run / "checkpoints" / "step-00000002"
    index = pickle.loads((path / INDEX).read_bytes())
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    index.state_dict_metadata["model.planted"] = BytesStorageMetadata()
    _resealed(path, INDEX, pickle.dumps(index))
    with pytest.raises(CheckpointError, match="BytesStorageMetadata, which no checkpoint needs"):
        read_whole(path, "model.")


def test_an_index_that_points_outside_is_refused(run: Path):
    path = run / "checkpoints" / "step-00000002"
    index = pickle.loads((path / INDEX).read_bytes())
    for info in index.storage_data.values():
        info.relative_path = "../../../secret"
    _resealed(path, INDEX, pickle.dumps(index))
    with pytest.raises(CheckpointError, match="outside its directory"):
        read_whole(path, "model.")
