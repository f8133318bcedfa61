"""Files of a prepared directory: on a local disk, or behind a URL of an object store that fsspec knows (s3://, gs://, memory://)."""

from pathlib import Path
from typing import BinaryIO, cast

import pyarrow.parquet as pq

from data.errors import ConfigError

Location = str | Path


def is_url(location: Location) -> bool:
    """Whether a location lies behind a URL; a Path never does."""
    return isinstance(location, str) and "://" in location


def inside(directory: Location, name: str) -> Location:
    """The location of a file in a directory."""
    return f"{str(directory).rstrip('/')}/{name}" if is_url(directory) else Path(directory) / name


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
