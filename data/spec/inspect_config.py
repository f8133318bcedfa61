"""Settings of the inspect job. Light: imports nothing heavy."""

from dataclasses import dataclass

from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Look at the first rows of a table and propose a feature spec."""

    source: str
    """A CSV, TSV or Parquet file (text plain, .gz or .zst), or a folder of them."""
    out: str = ""
    """File for the spec; empty: print it."""
    num_rows: int = 10_000
    """Rows to look at, from the start of the first file."""
    label: str = ""
    """Column of the label; empty: the most likely one."""

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            raise ConfigError(f"inspect.num_rows is {self.num_rows}; expected at least 1.")
