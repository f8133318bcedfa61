"""A column of hex digits to numbers.

Legend: n values of a column.
"""

import numpy as np
import pyarrow as pa

from data.raw.fixed_fields import hex_values


def decode_hex(column: pa.BinaryArray, ids: np.ndarray, missing: np.ndarray) -> bool:
    """Fill `ids` uint32 [n] and `missing` bool [n] from strings of 8 hex digits; false if there is any other string."""
    _, offsets, digits = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    if column.null_count:
        missing[:] = column.is_null().to_numpy(zero_copy_only=False)
    if not np.array_equal(np.diff(ends), np.where(missing, 0, 8)):
        return False
    # The strings lie end to end in Arrow's buffer.
    values = hex_values(np.frombuffer(digits or b"", dtype=np.uint8)[ends[0] : ends[-1]].view(np.uint16))
    if values is None:
        return False
    if column.null_count:
        ids[~missing] = values
    else:
        ids[:] = values
    return True
