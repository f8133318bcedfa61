"""Where the raw files of a spec lie: one file, or a folder of them in natural order."""

import re
from pathlib import Path

from data.errors import DataError
from data.raw.raw_files import check_readable, day_files, entries
from data.spec.feature_spec import FormatSpec
from data.storage import raw_path

_TEXT_ENDS = tuple(f"{end}{packed}" for end in (".csv", ".tsv", ".txt") for packed in ("", ".gz", ".zst"))
_PARQUET_ENDS = (".parquet", ".pq")


def table_files(source: str | Path, form: FormatSpec) -> list[Path]:
    """The file itself; of a folder its files of the spec's format, part-2 before part-10, or its day_0, day_1, ... files.

    DataError for a path that is missing or empty, and for a folder with no such files, or with days left out.
    """
    source = raw_path(source)
    files = _files_of_folder(source, form) if source.is_dir() else [source]
    for file in files:
        check_readable(file, f"a {form.kind} file or a folder of them, as the spec says")
    return files


def _files_of_folder(folder: Path, form: FormatSpec) -> list[Path]:
    ends = _PARQUET_ENDS if form.kind == "parquet" else _TEXT_ENDS
    found = entries(folder)
    files = [path for path in found if path.name.endswith(ends) and not path.name.startswith((".", "_"))]
    files = [path for path in files if not path.name.endswith(".truth.parquet")]
    if not files and form.kind != "parquet" and any(re.match(r"day_\d+", path.name) for path in found):
        return day_files(folder)
    if not files:
        held = ", ".join(path.name for path in found[:5]) or "nothing"
        raise DataError(
            f"{folder} holds no {form.kind} files ({', '.join(ends)}); it holds {held}. Name a file, or another folder."
        )
    return sorted(
        files, key=lambda path: [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", path.name)]
    )
