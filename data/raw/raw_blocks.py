"""Raw text in blocks of whole lines, numbered, in bounded memory; .gz is unpacked on the way."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.manifest import SourceFile
from data.truth import TruthCursor, have_truth, truth_path_of

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class TextBlock:
    """Whole lines, each ended by a line feed. Line numbers count from 1 within the file, row ids from 0 over all files.

    `is_cut_off`: the .gz file ends in the midst, and the last line here is what was left of it (maybe nothing).
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


@dataclass
class RawText:
    """Iterates over the blocks of all files in order. After the iteration `origin` names each file with its checksum.

    The true click probabilities come along where every file has them beside it (`has_truth`).
    """

    files: Sequence[Path]
    block_bytes: int
    origin: list[SourceFile] = field(default_factory=list)

    @property
    def has_truth(self) -> bool:
        return have_truth(self.files)

    def __iter__(self) -> Iterator[TextBlock]:
        self.origin = []
        has_truth = self.has_truth
        next_row_id = 0
        for file_index, file in enumerate(self.files):
            reader = _FileReader(file, self.block_bytes)
            truth = TruthCursor(truth_path_of(file)) if has_truth else None
            next_line = 1
            for text, num_source_bytes, is_cut_off in reader:
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
                )
                next_line += num_lines
                next_row_id += num_lines
            if truth and not reader.is_cut_off:
                truth.close(next_line - 1)
            self.origin.append(reader.source_file(next_line - 1, truth.sha256() if truth else None))


def count_lines(file: Path) -> int:
    """Lines of a raw file, a last one without line feed included."""
    return sum(text.count(b"\n") for text, _, _ in _FileReader(file, _READ_BYTES))


class _FileReader:
    """Yields (whole lines, source bytes behind them, cut off?) and takes the checksum of the source bytes on the way."""

    def __init__(self, file: Path, block_bytes: int) -> None:
        self._file = file
        self._block_bytes = block_bytes
        self._sha256 = hashlib.sha256()
        self._num_bytes = 0
        self.is_cut_off = False

    def __iter__(self) -> Iterator[tuple[bytes, int, bool]]:
        kept: list[bytes] = []
        num_kept, reported = 0, 0
        for text in self._texts():
            kept.append(text)
            num_kept += len(text)
            if num_kept < self._block_bytes:
                continue
            lines, rest = _cut_behind_last_line(b"".join(kept), self._file, self._block_bytes)
            yield lines, self._num_bytes - reported, False
            reported = self._num_bytes
            kept, num_kept = [rest], len(rest)
        last = b"".join(kept)
        if self.is_cut_off or (last and not last.endswith(b"\n")):
            last += b"\n"
        if last:
            yield last, self._num_bytes - reported, self.is_cut_off

    def source_file(self, num_lines: int, truth_sha256: str | None) -> SourceFile:
        """What was read; whole only when the iteration has ended."""
        return SourceFile(
            name=self._file.name,
            num_bytes=self._num_bytes,
            sha256=self._sha256.hexdigest(),
            num_lines=num_lines,
            truth_sha256=truth_sha256,
        )

    def _texts(self) -> Iterator[bytes]:
        chunks = self._chunks()
        first = next(chunks, b"")
        if not first.startswith(_GZIP_MAGIC):
            yield first
            yield from chunks
            return
        yield from self._unpacked(first, chunks)

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self._file.open("rb") as file:
                while chunk := file.read(min(_READ_BYTES, self._block_bytes)):
                    self._sha256.update(chunk)
                    self._num_bytes += len(chunk)
                    yield chunk
        except OSError as error:
            raise DataError(f"{self._file} cannot be read: {error.strerror}.") from error

    def _unpacked(self, first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The text of a .gz file of one or more members, at most a block at a time however well it was packed."""
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        packed = first
        try:
            while packed:
                yield inflater.decompress(packed, self._block_bytes)
                packed = inflater.unconsumed_tail
                if inflater.eof:
                    # Another member, or zeros that pad the file to whole blocks of a tape or disk.
                    packed = inflater.unused_data.lstrip(b"\0") or next(chunks, b"").lstrip(b"\0")
                    inflater = zlib.decompressobj(_GZIP_WINDOW) if packed else inflater
                packed = packed or next(chunks, b"")
            yield b"" if inflater.eof else inflater.flush()
        except zlib.error as error:
            raise DataError(
                f"{self._file} is damaged: {error}. Expected an intact .gz file: fetch it again."
            ) from error
        self.is_cut_off = not inflater.eof


def _cut_behind_last_line(text: bytes, file: Path, block_bytes: int) -> tuple[bytes, bytes]:
    end = text.rfind(b"\n") + 1
    if end == 0:
        raise DataError(
            f"{file} has a line of more than {block_bytes:,} bytes. Expected Criteo-format text of about 240 bytes a line."
        )
    return text[:end], text[end:]
