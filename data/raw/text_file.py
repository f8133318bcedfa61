"""The text of one raw file in blocks of whole lines, .gz and .zst unpacked on the way, with the checksum of its bytes."""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from data.errors import DataError
from data.manifest import SourceFile

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
READ_BYTES = 1 << 20
_ZSTD_READ_BYTES = 1 << 16
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class TextFile:
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
            lines, rest = _cut_behind_last_line(kept, self._file, self._block_bytes)
            num_source_bytes, reported = self._num_bytes - reported, self._num_bytes
            kept, num_kept = [rest], len(rest)  # so that a block under work is held once
            del text, rest
            yield lines, num_source_bytes, False
            del lines
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
        if first.startswith(GZIP_MAGIC):
            yield from self._unpacked(first, chunks)
        elif first.startswith(ZSTD_MAGIC):
            yield from self._unpacked_zst(first, chunks)
        else:
            yield first
            yield from chunks

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self._file.open("rb") as file:
                while chunk := file.read(min(READ_BYTES, self._block_bytes)):
                    self._sha256.update(chunk)
                    self._num_bytes += len(chunk)
                    yield chunk
        except OSError as error:
            raise DataError(f"{self._file} cannot be read: {error.strerror or error}.") from error

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

    def _unpacked_zst(self, first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The text of a .zst file of one or more frames."""
        source = pa.PythonFile(cast("IO[bytes]", _Chunks(first, chunks)), mode="r")
        stream = pa.CompressedInputStream(source, "zstd")
        try:
            # Short reads: where the file is cut off, the text of the last one is lost.
            while text := stream.read(_ZSTD_READ_BYTES):
                yield text
        except OSError as error:
            self.is_cut_off = "Truncated" in str(error)
            if not self.is_cut_off:
                raise DataError(
                    f"{self._file} is damaged: {error}. Expected an intact .zst file: fetch it again."
                ) from error


class _Chunks:
    """Chunks of bytes as a file that Arrow can read from."""

    closed = False

    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        self._rest, self._chunks = first, chunks

    def read(self, num_bytes: int) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        taken, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return taken

    def close(self) -> None:
        self.closed = True


def _cut_behind_last_line(texts: list[bytes], file: Path, block_bytes: int) -> tuple[bytes, bytes]:
    """The whole lines of the texts, one behind the other, and what follows them."""
    for last in range(len(texts) - 1, -1, -1):
        if end := texts[last].rfind(b"\n") + 1:
            return b"".join((*texts[:last], texts[last][:end])), b"".join((texts[last][end:], *texts[last + 1 :]))
    raise DataError(
        f"{file} has a line of more than {block_bytes:,} bytes. Expected lines of text that end in LF, each shorter than"
        " a block: correct the file, or give prepare.block_mib more."
    )
