"""Generated traces as a Parquet file: a column of ids for each learned access pattern."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.aside import written_aside
from data.config import GenerateConfig
from data.errors import ConfigError
from data.generating.pattern_files import traces_of

_ROW_GROUP_ROWS = 65_536


def write_traces(config: GenerateConfig) -> pa.Schema:
    """The columns written to `config.output`: `num_rows` ids each, int32, from 0 on. The same settings give the same bytes."""
    output = Path(config.output)
    if output.suffix != ".parquet":
        raise ConfigError(
            f"generate.output is {output}: a trace is ids alone, as Parquet. Name a file that ends in .parquet."
        )
    table = pa.table(traces_of(config.trace, config.num_rows, config.seed))
    with written_aside(output) as partial:
        pq.write_table(table, partial, row_group_size=_ROW_GROUP_ROWS, compression="zstd")
    return table.schema
