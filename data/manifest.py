"""manifest.json of a prepared dataset: what is in the directory, how it came about, and how to tell that it is intact."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.schema import Schema, SparseFeature, plain_schema
from data.storage import Location, inside, is_url, open_binary

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 knows neither lists, nor weights, nor shared tables: what it lacks has its default."""
SPLITS = ("train", "val", "test")
TOP_COUNTS = (1, 10, 100, 1000, 10000)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file: its path relative to the dataset's directory, its rows, the sha256 of its bytes."""

    path: str
    num_rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts of train, val or test, in row order."""

    num_rows: int
    num_positives: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class SparseStatistics:
    """A sparse feature in the train split. `top_mass[k]`: fraction of the train rows that hold one of the k most frequent ids.

    With ids=hash an id is what it was hashed to. `num_ids` counts distinct ids, missing excluded; `unmapped_rate` is the
    fraction of train rows that look up row 0 (missing and rare).
    """

    num_ids: int
    missing_rate: float
    unmapped_rate: float
    top_mass: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class DenseStatistics:
    """A dense feature in the train split, after its transform."""

    missing_rate: float
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One raw file: its name (without folders), the size and sha256 of its bytes, and the lines read from it.

    `truth_sha256`: checksum of the true click probabilities beside it, where there are any.
    """

    name: str
    num_bytes: int
    sha256: str
    num_lines: int
    truth_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a prepared directory holds. `fingerprint` covers what determines the contents: settings and source bytes.

    `negative_sampling_rate`: fraction of the train split's negatives that were kept, each by a draw of its own; `num_left_out`
    counts those that were not. Lines read = rows of all splits + bad lines + rows left out.
    """

    version: int = MANIFEST_VERSION
    schema: Schema
    splits: dict[str, Split]
    sparse_statistics: dict[str, SparseStatistics]
    dense_statistics: dict[str, DenseStatistics]
    num_lines: int
    bad_lines: dict[str, int] = field(default_factory=dict)
    negative_sampling_rate: float = 1.0
    num_left_out: int = 0
    has_true_probability: bool = False
    row_group_rows: int
    settings: dict[str, Any]
    origin: tuple[SourceFile, ...]
    fingerprint: str

    @classmethod
    def load(cls, directory: str | Path) -> "Manifest":
        """Manifest of a prepared directory, or of a URL's (data/storage.py).

        DataError when there is none, or when it is damaged or of another version.
        """
        path = inside(directory, MANIFEST_NAME)
        try:
            with open_binary(path) as file:
                return _from_json(json.loads(file.read()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(_absent(directory)) from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is damaged or of another version ({error!r}): prepare the dataset again."
            ) from error

    def save(self, directory: str | Path) -> None:
        """Write manifest.json into the directory; the same manifest gives the same bytes."""
        text = json.dumps(asdict(self) | {"schema": plain_schema(self.schema)}, indent=1) + "\n"
        (Path(directory) / MANIFEST_NAME).write_text(text)

    def split(self, name: str) -> Split:
        """The named split. DataError when there is none of that name or it holds no rows."""
        if name not in self.splits:
            raise DataError(f"There is no split {name!r}; this dataset has {', '.join(self.splits)}.")
        return self.splits[name]

    def verify(self, directory: str | Path) -> None:
        """Compare the checksum of every part with the manifest. DataError names the first part that is gone or altered."""
        for split in self.splits.values():
            for part in split.parts:
                _verify_part(Path(directory) / part.path, part)


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes. DataError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def fingerprint_of(*things: Any) -> str:
    """Hex sha256 over the JSON of the given things."""
    return hashlib.sha256(json.dumps(things, sort_keys=True).encode()).hexdigest()


def _verify_part(path: Path, part: Part) -> None:
    found = sha256_of_file(path)
    if found != part.sha256:
        raise DataError(
            f"{path} was altered after preparing: its sha256 is {found[:12]}..., the manifest says {part.sha256[:12]}...."
            " Prepare the dataset again (force=true)."
        )


def _absent(directory: Location) -> str:
    if not is_url(directory) and not Path(directory).is_dir():
        return f"{directory} does not exist. Expected a prepared dataset: run the prepare job with output={directory} first."
    return f"{directory} holds no {MANIFEST_NAME}: it is no prepared dataset. Run the prepare job, or correct the path."


def _from_json(values: dict[str, Any]) -> Manifest:
    if values["version"] not in READABLE_VERSIONS:
        raise ValueError(f"version {values['version']}, expected one of {READABLE_VERSIONS}")
    values["schema"] = Schema(
        dense=tuple(values["schema"]["dense"]),
        sparse=tuple(SparseFeature(**feature) for feature in values["schema"]["sparse"]),
        targets=tuple(values["schema"].get("targets", ())),
    )
    values["splits"] = {name: _split(split) for name, split in values["splits"].items()}
    values["sparse_statistics"] = {name: _sparse(item) for name, item in values["sparse_statistics"].items()}
    values["dense_statistics"] = {name: DenseStatistics(**item) for name, item in values["dense_statistics"].items()}
    values["origin"] = tuple(SourceFile(**item) for item in values["origin"])
    return Manifest(**values)


def _split(values: dict[str, Any]) -> Split:
    parts = tuple(Part(**part) for part in values["parts"])
    return Split(num_rows=values["num_rows"], num_positives=values["num_positives"], parts=parts)


def _sparse(values: dict[str, Any]) -> SparseStatistics:
    statistics = SparseStatistics(**values)
    return replace(statistics, top_mass={int(count): mass for count, mass in values["top_mass"].items()})
