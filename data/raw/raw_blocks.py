"""Raw text in blocks of whole lines, numbered, in bounded memory; .gz is unpacked on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.manifest import SourceFile
from data.raw.header import Header, read_header
from data.raw.text_file import READ_BYTES, TextFile
from data.truth import TruthCursor, have_truth, truth_path_of


@dataclass(frozen=True, kw_only=True)
class TextBlock:
    """Whole lines, each ended by a line feed. Line numbers count from 1 within the file, row ids from 0 over all files.

    `is_cut_off`: the packed file ends in the midst, and the last line here is what was left of it (maybe nothing). `columns`:
    what the file's header names; the header itself is in no block, though it is line 1.
    """

    text: bytes
    file: Path
    file_index: int
    first_line: int
    first_row_id: int
    num_lines: int
    num_source_bytes: int
    is_cut_off: bool = False
    probabilities: np.ndarray | None = None
    columns: tuple[str, ...] = ()

    @property
    def num_before(self) -> int:
        """Lines of the file before this block, the header not counted."""
        return self.first_line - (2 if self.columns else 1)


@dataclass
class RawText:
    """Iterates over the blocks of all files in order. After the iteration `origin` names each file with its checksum.

    The true click probabilities come along where every file has them beside it (`has_truth`). `header`: how to read the first
    line of every file, where that names the columns.
    """

    files: Sequence[Path]
    block_bytes: int
    header: Header | None = None
    origin: list[SourceFile] = field(default_factory=list)

    @property
    def has_truth(self) -> bool:
        return have_truth(self.files)

    def __iter__(self) -> Iterator[TextBlock]:
        self.origin = []
        has_truth = self.has_truth
        next_row_id = 0
        for file_index, file in enumerate(self.files):
            reader = TextFile(file, self.block_bytes)
            truth = TruthCursor(truth_path_of(file)) if has_truth else None
            next_line, columns = 1, ()
            for text, num_source_bytes, is_cut_off in reader:
                if self.header and next_line == 1:
                    if is_cut_off and text.count(b"\n") < 2:
                        raise DataError(f"{file} is cut off within its first line. Fetch it again, or pack it again.")
                    columns, text = read_header(text, self.header, file)
                    next_line = 2
                num_lines = int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n")))
                yield TextBlock(
                    text=text,
                    file=file,
                    file_index=file_index,
                    first_line=next_line,
                    first_row_id=next_row_id,
                    num_lines=num_lines,
                    num_source_bytes=num_source_bytes,
                    is_cut_off=is_cut_off,
                    probabilities=truth.take(num_lines) if truth else None,
                    columns=columns,
                )
                next_line += num_lines
                next_row_id += num_lines
            num_read = next_line - (2 if self.header else 1)
            if truth and not reader.is_cut_off:
                truth.close(num_read)
            self.origin.append(reader.source_file(num_read, truth.sha256() if truth else None))

    def count_rows(self, file: Path) -> int:
        """Lines of a raw file behind its header, a last one without line feed included."""
        return count_lines(file) - (1 if self.header else 0)


def count_lines(file: Path) -> int:
    """Lines of a raw file, a last one without line feed included."""
    return sum(text.count(b"\n") for text, _, _ in TextFile(file, READ_BYTES))
