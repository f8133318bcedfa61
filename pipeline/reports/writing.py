"""Puts a report on disk as report.html, report.md and report.json: each complete or not there."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from data.errors import DataError
from pipeline.reports.document import Block, Figure, Report, Section
from pipeline.reports.markdown import render_markdown
from pipeline.reports.page import render_page


def _plain(value: Any) -> Any:
    """The value with everything that JSON cannot say replaced: not-finite numbers by null, arrays and tuples by lists."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars, tensors
        return _plain(value.tolist())
    return value


def _block(block: Block) -> dict[str, Any]:
    fields = asdict(block)
    if isinstance(block, Figure):
        del fields["svg"]
    return {"kind": type(block).__name__.lower(), **fields}


def _section(section: Section) -> dict[str, Any]:
    return {"title": section.title, "blocks": [_block(block) for block in section.blocks]}


def render_json(report: Report) -> str:
    """The report as JSON: results, cards, sections (tables with raw values, figures by their numbers), provenance."""
    document = {
        "title": report.title,
        "subtitle": report.subtitle,
        "results": report.results,
        "cards": [asdict(card) for card in report.cards],
        "sections": [_section(section) for section in report.sections],
        "provenance": report.provenance,
    }
    return json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_report(directory: str | Path, report: Report, *, name: str = "report") -> Path:
    """The path of `<name>.html`, which lies in `directory` with its .md and .json twins; DataError when it cannot be written.

    All three are written aside before the first is renamed, so a job that is killed or a disk that is full leaves the old ones.
    """
    folder = Path(directory)
    texts = {"html": render_page(report), "md": render_markdown(report), "json": render_json(report)}
    asides = {suffix: folder / f"{name}.{suffix}.partial-{os.getpid()}" for suffix in texts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in texts.items():
            _write(asides[suffix], text)
        for suffix, aside in asides.items():
            aside.replace(folder / f"{name}.{suffix}")
    except OSError as error:
        _remove(asides.values())
        raise DataError(
            f"The report cannot be written to {folder}: {error}. Free space there or name another folder."
        ) from error
    return folder / f"{name}.html"
