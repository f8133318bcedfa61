"""The served model as programs that run without Shardline's code: torch.export, TorchScript, AOTInductor; any batch size.

Each is made for flat tensors (`data.reading.flat_rows`) of two rows or more.
"""

import io
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torchrec.fx import symbolic_trace

from data.errors import DataError
from models.served import ServedRanker

FILES = {"exported": "model.pt2", "torchscript": "model.ts", "aoti": "model.aoti.pt2"}
_MOST_ROWS = 1 << 24
_REASON_CHARACTERS = 300
_NOISY = ("root", "torch.__trace", "torch.export", "torch._export", "torch._inductor", "torch.fx", "torch._functorch")

Program = Callable[..., Tensor]


def make_program(kind: str, model: ServedRanker, example: tuple[Tensor, ...], path: Path) -> str | None:
    """Write the program to `path`; none where that works, else in a few words why this model cannot be had so."""
    try:
        with _quiet(), torch.no_grad():
            _MAKERS[kind](model, example, path)
    except Exception as error:  # the exporters raise whatever their tracers meet
        path.unlink(missing_ok=True)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:_REASON_CHARACTERS]}"
    return None


def load_program(kind: str, path: Path) -> Program:
    """The program as a function of the flat tensors; DataError where the file would run code in being read."""
    with _quiet():
        if kind == "exported":
            _check_tensors_only(path)
            return torch.export.load(path).module()
        if kind == "torchscript":
            return torch.jit.load(str(path))
        return torch._inductor.aoti_load_package(str(path))  # pyright: ignore[reportReturnType]


def _exported(model: ServedRanker, example: tuple[Tensor, ...]) -> ExportedProgram:
    rows = Dim("rows", min=2, max=_MOST_ROWS)
    ids = Dim("ids", min=2)
    shapes: list[dict[int, Any]] = [{0: rows}, {0: ids}, {0: len(model.features) * rows}, {0: ids}]
    return torch.export.export(model, example, dynamic_shapes=tuple(shapes[: len(example)]), strict=False)


def _make_exported(model: ServedRanker, example: tuple[Tensor, ...], path: Path) -> None:
    torch.export.save(_exported(model, example), path)


def _make_torchscript(model: ServedRanker, example: tuple[Tensor, ...], path: Path) -> None:
    torch.jit.save(torch.jit.script(symbolic_trace(model)), str(path))


def _make_aoti(model: ServedRanker, example: tuple[Tensor, ...], path: Path) -> None:
    torch._inductor.aoti_compile_and_package(_exported(model, example), package_path=str(path))


_MAKERS: dict[str, Callable[[ServedRanker, tuple[Tensor, ...], Path], None]] = {
    "exported": _make_exported,
    "torchscript": _make_torchscript,
    "aoti": _make_aoti,
}


def _check_tensors_only(path: Path) -> None:
    """torch.export.load falls back to plain unpickling, which can run anything: refuse what needs it."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith((".pt", ".pkl")) and archive.getinfo(name).file_size:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except Exception as error:  # a made-up archive can fail in any way
        raise DataError(
            f"{path} holds more than tensors, or is damaged ({type(error).__name__}): not read. Do not trust its origin."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of the tracers to themselves; TorchRec's go to the root logger."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
