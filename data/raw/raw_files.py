"""Where raw Criteo text lies: one file, or a folder of days in natural order."""

import re
from pathlib import Path

from data.errors import DataError
from data.storage import raw_path

CRITEO_TEXT = "Criteo-format text (plain or .gz) or a folder of days"
_DAY = re.compile(r"day_(\d+)(\.gz)?")


def raw_files(source: str | Path) -> list[Path]:
    """The raw files in order: the file itself, or a folder's day_0, day_1, ... day_10 (each plain or .gz).

    DataError for a path that is missing or empty, a folder without days, with a day twice or with a day left out.
    """
    source = raw_path(source)
    files = day_files(source) if source.is_dir() else [source]
    for file in files:
        check_readable(file, CRITEO_TEXT, "label, 13 integers, 26 ids, tab-separated")
    return files


def day_files(folder: Path) -> list[Path]:
    """The files day_0, day_1, ... of a folder, each plain or .gz."""
    numbered = [(int(match[1]), path) for path in entries(folder) if (match := _DAY.fullmatch(path.name))]
    if not numbered:
        found = ", ".join(path.name for path in entries(folder)[:5]) or "nothing"
        raise DataError(
            f"{folder} holds no day_0, day_1, ... files (plain or .gz); it holds {found}. Name a file, or a folder of days."
        )
    numbered.sort()
    numbers = [number for number, _ in numbered]
    for number in numbers:
        if numbers.count(number) > 1:
            raise DataError(f"{folder} holds day_{number} twice, plain and .gz. Move one of the two away.")
    absent = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if absent:
        raise DataError(
            f"{folder} holds days {numbers[0]} to {numbers[-1]} but no day_{absent[0]}. Expected no gap: complete the folder."
        )
    return [path for _, path in numbered]


def entries(folder: Path) -> list[Path]:
    """What a folder holds, by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}.") from error


def check_readable(file: Path, expected: str, line: str = "at least one row") -> None:
    """DataError where the file is missing, cannot be read or is empty. `expected`: what to put there."""
    try:
        with file.open("rb") as opened:
            is_empty = not opened.read(1)
    except FileNotFoundError as error:
        raise DataError(f"{file} does not exist. Expected {expected}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    if is_empty:
        raise DataError(f"{file} is empty. Expected {expected}: {line}.")
