"""Criteo's own format through its own parser, as rows of a spec."""

import numpy as np

from data.raw.raw_blocks import TextBlock
from data.raw.raw_rows import parse_block
from data.raw.spec_rows import Bags, Numbers, SpecRows


def parse_criteo(block: TextBlock) -> SpecRows:
    """The rows of a block of Criteo text, in the order of its columns."""
    raw = parse_block(block)
    numbers = raw.integers.astype(np.float32)
    return SpecRows(
        row_ids=raw.row_ids,
        places=raw.places,
        labels=raw.labels,
        dense=[Numbers(values=v, missing=m) for v, m in zip(numbers, raw.integer_missing, strict=True)],
        bags=[Bags(keys=ids, missing=m) for ids, m in zip(raw.ids, raw.id_missing, strict=True)],
        probabilities=raw.probabilities,
        bad_counts=raw.bad_counts,
        bad_lines=raw.bad_lines,
    )
