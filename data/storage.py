"""Raw and prepared files: on a local disk, or behind a URL of an object store that fsspec knows (s3://, gs://, memory://)."""

from pathlib import Path
from typing import BinaryIO, cast

import pyarrow.parquet as pq

from data.errors import ConfigError

Location = str | Path


def is_url(location: Location) -> bool:
    """Whether a location lies behind a URL; a Path never does, a path that `raw_path` made of a URL does."""
    return not isinstance(location, Path) and "://" in str(location)


def inside(directory: Location, name: str) -> Location:
    """The location of a file in a directory."""
    return f"{str(directory).rstrip('/')}/{name}" if is_url(directory) else Path(directory) / name


def raw_path(source: Location) -> Path:
    """The path of raw data: of a URL one of universal_pathlib's, which does all that is asked of raw files as a Path does.

    ConfigError for a URL that cannot be served.
    """
    if not is_url(source):
        return Path(source)
    try:
        from upath import UPath
    except ImportError as error:
        raise ConfigError(f"{source} needs the package universal_pathlib: pip install 'shardline[urls]'") from error
    _filesystem(str(source))
    return cast(Path, UPath(str(source)))


def change_mark(path: Path) -> int | str:
    """What is another after a file was changed: its time of change, or what its object store has in place of that."""
    if not is_url(path):
        return path.stat().st_mtime_ns
    filesystem, name = _filesystem(str(path))
    return str(filesystem.ukey(name))


def open_binary(location: Location) -> BinaryIO:
    """The file, open for reading bytes. OSError as for a local file; ConfigError for a URL that fsspec cannot serve."""
    if not is_url(location):
        return Path(location).open("rb")
    filesystem, path = _filesystem(str(location))
    return cast(BinaryIO, filesystem.open(path, "rb"))


def open_parquet(location: Location, *, verify_pages: bool) -> pq.ParquetFile:
    """The Parquet file, its footer read. `verify_pages`: compare the checksum of every page that is read."""
    if not is_url(location):
        # On a local disk, handing the reads to Arrow's own threads (pre_buffer) costs more than it brings.
        return pq.ParquetFile(location, pre_buffer=False, page_checksum_verification=verify_pages)
    filesystem, path = _filesystem(str(location))
    # Over a network one read of a whole row group takes the place of one per column.
    return pq.ParquetFile(path, filesystem=filesystem, pre_buffer=True, page_checksum_verification=verify_pages)


def _filesystem(url: str):
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ConfigError(f"{url} needs the package fsspec. Install it: pip install fsspec") from error
    try:
        return url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"{url} cannot be opened: {error}. Name a local directory, or install what it asks for."
        ) from error
