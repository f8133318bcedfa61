"""Single columns of a prepared split, or of the rows that came from one raw file of it: whole, or evenly spread row groups."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.manifest import Manifest
from data.reading.stored_split import ROW_ID, StoredSplit


@dataclass(frozen=True)
class Group:
    """Rows `begin` to `end` - 1 of a row group."""

    part: int
    group: int
    begin: int
    end: int


class SplitColumns:
    """Columns of some rows of a split, about `max_rows` of them. DataError where there is no such split, day, or row."""

    def __init__(self, directory: str | Path, split: str, day: int | None, max_rows: int) -> None:
        self.directory = Path(directory)
        self.manifest = Manifest.load(directory)
        self.name = f"{directory} {split}" + ("" if day is None else f", file {day} ({self._day_name(day)})")
        self._stored = StoredSplit(directory, split)
        groups = self._groups() if day is None else self._groups_of_day(day)
        if not groups:
            raise DataError(f"{self.name} holds no rows. Choose another split or day.")
        wanted = -(-max_rows // self._stored.group_rows)
        places = np.unique(np.linspace(0, len(groups) - 1, min(wanted, len(groups))).round().astype(int))
        self._chosen = [groups[place] for place in places]
        self.num_rows = sum(group.end - group.begin for group in self._chosen)

    def column(self, name: str) -> pa.ChunkedArray:
        """The values of a column, row after row."""
        pieces: list[pa.ChunkedArray] = []
        for part in sorted({group.part for group in self._chosen}):
            with self._stored.open_part(part) as file:
                for group in (each for each in self._chosen if each.part == part):
                    column = file.read_row_group(group.group, columns=[name]).column(0)
                    pieces.append(column.slice(group.begin, group.end - group.begin))
        return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks])

    def _groups(self) -> list[Group]:
        groups = []
        for part in range(len(self._stored.paths)):
            with self._stored.open_part(part) as file:
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            groups += [Group(part, group, 0, size) for group, size in enumerate(sizes)]
        return groups

    def _groups_of_day(self, day: int) -> list[Group]:
        """Row ids rise over a split and number the lines of all raw files, so a file's rows lie together."""
        ends = np.cumsum([file.num_lines for file in self.manifest.origin])
        first, last = int(ends[day] - self.manifest.origin[day].num_lines), int(ends[day])
        groups = []
        for group in self._groups():
            with self._stored.open_part(group.part) as file:
                row_ids = file.read_row_group(group.group, columns=[ROW_ID]).column(0).to_numpy()
            begin, end = np.searchsorted(row_ids, [first, last])
            if begin < end:
                groups.append(Group(group.part, group.group, int(begin), int(end)))
        return groups

    def _day_name(self, day: int) -> str:
        if not 0 <= day < len(self.manifest.origin):
            raise DataError(
                f"There is no raw file {day}: the dataset was made of {len(self.manifest.origin)}, numbered from 0."
            )
        return self.manifest.origin[day].name
