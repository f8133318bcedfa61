"""What a feature spec can say. docs/data.md explains it by examples; data/spec/load.py reads it from YAML."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from data.errors import ConfigError
from data.schema import target_column, weights_column

MOST_ROWS = 2**31 - 1
RESERVED = ("row_id", "label", "timestamp", "true_probability")
"""Columns that every part has, or may have: no feature can take these names."""


@dataclass(frozen=True, kw_only=True)
class FormatSpec:
    """How the files are written."""

    kind: Literal["csv", "tsv", "parquet"]
    """csv and tsv: text, plain, .gz or .zst; parquet: names and types come from the files."""
    header: bool = True
    """The first line of every file names the columns (text only)."""
    columns: tuple[str, ...] = ()
    """Names of the columns, where no header gives them; C1..C26 stands for C1, C2, ... C26."""
    delimiter: str = ""
    """Character between two fields; a comma for csv and a tab for tsv unless given."""
    quote: str | None = None
    """Character around fields that hold the delimiter, "" for none; a double quote for csv and none for tsv unless given."""
    missing: tuple[str, ...] = ("",)
    """Texts that stand for a missing value."""

    def __post_init__(self) -> None:
        if self.kind == "parquet" and (self.columns or self.delimiter or self.quote):
            raise ConfigError("format: Parquet files name their columns themselves; drop columns, delimiter and quote.")
        if self.kind != "parquet" and not self.header and not self.columns:
            raise ConfigError("format: without a header the spec must name all columns, in order: add format.columns.")
        if self.kind != "parquet" and self.header and self.columns:
            raise ConfigError("format: the header names the columns; drop format.columns, or set header: false.")
        for name in ("delimiter", "quote"):
            value = getattr(self, name)
            if value and (len(value) != 1 or ord(value) > 127 or value in "\n\r"):
                raise ConfigError(f"format.{name} is {value!r}; expected one ASCII character.")
        check_unique("format.columns", self.columns)

    @property
    def separator(self) -> str:
        return self.delimiter or ("," if self.kind == "csv" else "\t")

    @property
    def quote_character(self) -> str:
        return ('"' if self.kind == "csv" else "") if self.quote is None else self.quote


@dataclass(frozen=True, kw_only=True)
class LabelSpec:
    """Where the label is: 0 or 1, or a number that is cut at a threshold."""

    column: str
    """Column of the label."""
    positive_from: float | None = None
    """Numbers from here on are label 1, lower ones 0; none: the column holds 0 and 1 already."""
    name: str = ""
    """What the target is called where there are several; the column's name unless given."""


@dataclass(frozen=True, kw_only=True)
class TimestampSpec:
    """When a row happened; stored as whole seconds since 1970, UTC."""

    column: str
    """Column of the time."""
    format: str = "seconds"
    """seconds or milliseconds since 1970, iso (2024-05-31 or 2024-05-31T12:00:00), or a pattern such as %d/%m/%Y."""
    ordered: bool = False
    """Rows must come in the order of time: one that goes back stops the job, saying where."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """One step from the number in the file to the number that is stored."""

    kind: Literal["log", "clip", "standardise"]
    """log: log(1 + max(x, 0)); clip: into [low, high]; standardise: less the mean, over the deviation, of the train rows."""
    low: float | None = None
    """Lowest value (clip only)."""
    high: float | None = None
    """Highest value (clip only)."""

    def __post_init__(self) -> None:
        if self.kind != "clip":
            return
        if self.low is None and self.high is None:
            raise ConfigError("transform clip needs low, high or both, such as {clip: [0, 100]}.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ConfigError(f"transform clip has low {self.low:g} above high {self.high:g}: exchange them.")


@dataclass(frozen=True, kw_only=True)
class DenseSpec:
    """A number that the model takes as it is."""

    name: str
    """Name of the feature."""
    column: str
    """Column it comes from."""
    type: Literal["integer", "number"] = "number"
    """integer: whole numbers only, others are bad; number: any finite number."""
    default: float | None = None
    """Stands in for a missing number, before the transforms; none: a missing number is stored as 0."""
    transforms: tuple[Transform, ...] = ()
    """Steps, in order; standardise only as the last."""
    missing_indicator: bool = False
    """Add a feature NAME_missing, 1 where the number is missing, else 0, behind all numbers."""

    def __post_init__(self) -> None:
        kinds = [transform.kind for transform in self.transforms]
        if "standardise" in kinds[:-1]:
            raise ConfigError(f"dense feature {self.name!r}: standardise must be the last transform.")

    @property
    def is_standardised(self) -> bool:
        return bool(self.transforms) and self.transforms[-1].kind == "standardise"


@dataclass(frozen=True, kw_only=True)
class MultiHotSpec:
    """One id made into a bag of a fixed size, as MLPerf's synthetic multi-hot data are: the id itself, then drawn ones."""

    size: int
    """Ids of every bag."""
    distribution: Literal["uniform", "pareto"] = "uniform"
    """How the other ids are drawn, by id: the same id always brings the same others."""
    seed: int = 0
    """Seed of the draw."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"multi_hot.size is {self.size}; expected at least 1.")


@dataclass(frozen=True, kw_only=True)
class SparseSpec:
    """One id or a list of them, and how they become rows of an embedding table."""

    name: str
    """Name of the feature."""
    column: str
    """Column it comes from."""
    type: Literal["string", "integer", "hex", "number"] = "string"
    """hex: 8 hexadecimal digits; number: any finite number (for bucketize)."""
    ids: Literal["vocabulary", "hash", "ready", "bucketize"] = "vocabulary"
    """vocabulary: rows by falling count in train; hash: modulo the table; ready: table rows already; bucketize: by boundaries."""
    min_count: int = 2
    """Ids seen fewer times than this in the train split share row 0 (vocabulary only)."""
    num_rows: int | None = None
    """Rows of the table, row 0 for missing ids included (hash and ready only)."""
    seed: int | None = None
    """Seed of the hash; none: integers and hex digits are taken modulo the table as they are (hash only)."""
    boundaries: tuple[float, ...] = ()
    """Ascending numbers that part the buckets, each the start of one (bucketize only)."""
    table: str = ""
    """Table that several features share; empty: one of its own."""
    default: str | None = None
    """Stands in for a missing id; none: a missing id is row 0, a missing list an empty bag."""
    list: bool = False
    """Whether the column holds lists: text with a separator, or Parquet lists."""
    separator: str = "|"
    """Text between two items of a list (text files only)."""
    max_length: int = 0
    """Most items of a list; 0: any number."""
    too_long: Literal["reject", "cut"] = "reject"
    """What becomes of longer lists: the row is bad, or the first max_length items are kept."""
    weights: str = ""
    """Column of the weights, as many as there are ids (lists only)."""
    weight_separator: str = ""
    """Text between an id and its weight, as in drama:0.7|crime:0.3 (text files only)."""
    multi_hot: MultiHotSpec | None = None
    """Make a bag of a fixed size of every id."""

    def __post_init__(self) -> None:
        where = f"sparse feature {self.name!r}"
        _check_ids(self, where)
        _check_lists(self, where)

    @property
    def table_name(self) -> str:
        return self.table or self.name

    @property
    def is_weighted(self) -> bool:
        return bool(self.weights or self.weight_separator)

    @property
    def is_stored_as_list(self) -> bool:
        return self.list or self.multi_hot is not None


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """A table's columns: which is the label, which are features, and what becomes of them."""

    format: FormatSpec
    """How the files are written."""
    label: LabelSpec
    """The label."""
    row_id: str = ""
    """Column of a whole number that identifies a row; empty: the number of the line over all files, from 0."""
    timestamp: TimestampSpec | None = None
    """When a row happened."""
    dense: tuple[DenseSpec, ...] = ()
    """Numbers."""
    sparse: tuple[SparseSpec, ...] = field(default=())
    """Ids."""
    other_labels: tuple[LabelSpec, ...] = ()
    """Further targets behind the first, which is `label`; these may be missing in some rows."""

    def __post_init__(self) -> None:
        if not self.sparse:
            raise ConfigError("The spec has no sparse feature: a ranker needs at least one. Add an entry under sparse.")
        check_unique("names of labels", self.target_names)
        for name in self.target_names:
            if not re.fullmatch(r"[\w-]+", name):
                raise ConfigError(f"A target is called {name!r}; give it a name of letters, digits, _ and - only.")
        others = [target_column(name) for name in self.target_names[1:]]
        stored = [*self.dense_names, *(name for each in self.sparse for name in stored_names(each)), *others]
        check_unique("names of features", stored)
        for name in stored:
            if name in RESERVED or "/" in name or not name:
                raise ConfigError(f"A feature cannot be named {name!r}; choose another name for it.")
        self._check_tables()

    @property
    def target_names(self) -> tuple[str, ...]:
        """The targets, the first one first; none where there is but one."""
        return tuple(each.name or each.column for each in (self.label, *self.other_labels)) if self.other_labels else ()

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Names of the stored numbers: the features, then the indicators of what is missing."""
        indicators = (f"{each.name}_missing" for each in self.dense if each.missing_indicator)
        return (*(each.name for each in self.dense), *indicators)

    @property
    def has_label(self) -> bool:
        """Whether rows come with a label; those that are only to be scored need none."""
        return bool(self.label.column)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, each once."""
        sparse = (name for each in self.sparse for name in (each.column, each.weights) if name)
        others = (self.row_id, self.timestamp.column if self.timestamp else "")
        labels = (each.column for each in (self.label, *self.other_labels))
        names = (*labels, *others, *(each.column for each in self.dense), *sparse)
        return tuple(dict.fromkeys(name for name in names if name))

    def _check_tables(self) -> None:
        first: dict[str, SparseSpec] = {}
        for each in self.sparse:
            other = first.setdefault(each.table_name, each)
            for key in ("type", "ids", "min_count", "num_rows", "seed", "boundaries"):
                mine, others = getattr(each, key), getattr(other, key)
                if mine != others:
                    raise ConfigError(
                        f"sparse features {other.name!r} and {each.name!r} share table {each.table_name!r}, but {key} is"
                        f" {others} for one and {mine} for the other: make them equal, or give each its own table."
                    )


def without_label(spec: FeatureSpec) -> FeatureSpec:
    """The same features from files that lack the columns of the labels."""
    labels = {each.column for each in (spec.label, *spec.other_labels)}
    columns = tuple(name for name in spec.format.columns if name not in labels)
    return replace(spec, label=LabelSpec(column=""), other_labels=(), format=replace(spec.format, columns=columns))


def plain_spec(spec: FeatureSpec) -> dict[str, Any]:
    """The spec in plain values, as it is kept with data. What a spec of one label does not need is left out."""
    plain = asdict(spec)
    if not spec.other_labels:
        del plain["other_labels"], plain["label"]["name"]
    return plain


def stored_names(spec: SparseSpec) -> Iterable[str]:
    """The stored columns of a sparse feature."""
    return (spec.name, weights_column(spec.name)) if spec.is_weighted else (spec.name,)


def check_unique(what: str, names: Iterable[str]) -> None:
    """ConfigError where a name comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{what}: {name!r} is there twice. Expected every name once: drop or rename one.")
        seen.add(name)


def _check_ids(spec: SparseSpec, where: str) -> None:
    needs_rows = spec.ids in ("hash", "ready")
    if needs_rows != (spec.num_rows is not None):
        fault = (
            f"ids: {spec.ids} needs num_rows" if needs_rows else f"num_rows is for hash and ready, ids is {spec.ids}"
        )
        raise ConfigError(f"{where}: {fault}.")
    if spec.num_rows is not None and not 2 <= spec.num_rows <= MOST_ROWS:
        raise ConfigError(f"{where}: num_rows is {spec.num_rows}; expected 2 (row 0 and one more) to {MOST_ROWS}.")
    if spec.default is not None and not _is_of_type(spec.default, spec.type):
        raise ConfigError(f"{where}: default is {spec.default!r}; expected a text that reads as {spec.type}.")
    if spec.min_count < 1:
        raise ConfigError(f"{where}: min_count is {spec.min_count}; expected at least 1.")
    if spec.ids == "ready" and spec.type != "integer":
        raise ConfigError(f"{where}: ids: ready takes type: integer, not {spec.type}.")
    if (spec.ids == "bucketize") != bool(spec.boundaries) or (spec.ids == "bucketize") != (spec.type == "number"):
        raise ConfigError(f"{where}: ids: bucketize, type: number and boundaries belong together; give all or none.")
    if list(spec.boundaries) != sorted(set(spec.boundaries)):
        raise ConfigError(f"{where}: boundaries are {list(spec.boundaries)}; expected ascending numbers.")


def _is_of_type(text: str, kind: str) -> bool:
    patterns = {"string": r".*", "integer": r"-?\d{1,18}", "hex": r"[0-9a-fA-F]{8}", "number": r"-?\d+(\.\d*)?"}
    return re.fullmatch(patterns[kind], text) is not None


def _check_lists(spec: SparseSpec, where: str) -> None:
    if spec.max_length < 0:
        raise ConfigError(f"{where}: max_length is {spec.max_length}; expected 1 or more, or 0 for no limit.")
    if not spec.list and (spec.is_weighted or spec.max_length):
        raise ConfigError(f"{where}: weights and max_length are for lists: add list: true, or drop them.")
    if spec.weights and spec.weight_separator:
        raise ConfigError(f"{where}: weights are in a column of their own, or behind a weight_separator, not both.")
    if not spec.separator or spec.separator == spec.weight_separator:
        raise ConfigError(f"{where}: separator is {spec.separator!r}; expected some text other than weight_separator.")
    if spec.list and spec.default is not None:
        raise ConfigError(f"{where}: default is for single ids; a missing list is an empty bag. Drop default.")
    if spec.list and (spec.multi_hot or spec.ids == "bucketize"):
        raise ConfigError(f"{where}: multi_hot and bucketize make ids of single values; drop list: true.")
