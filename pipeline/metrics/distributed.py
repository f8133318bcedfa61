"""Exact metrics of the rows of all ranks: each rank adds what it scored, each gets the same Evaluation."""

from pathlib import Path
from typing import Any

from pipeline.evaluate_config import LEAST_MEMORY_MIB
from pipeline.metrics.exact import ExactScores
from pipeline.metrics.exchange import GlooExchange


def distributed_scores(
    *,
    process_group: Any = None,
    weighted: bool = False,
    memory_mib: int = LEAST_MEMORY_MIB,
    spill_dir: Path | None = None,
    source: str = "the evaluation",
) -> ExactScores:
    """An ExactScores over the ranks of `process_group` (default: all), float32 scores, each row id counted once.

    Call `add(probabilities, labels, row_ids, weights)` on each rank for its own batches, padding rows marked by row id -1,
    then `evaluate()` on all ranks. Row ids found twice, on whatever ranks, are refused.
    """
    return ExactScores(
        weighted=weighted,
        with_row_ids=True,
        memory_mib=memory_mib,
        spill_dir=spill_dir,
        exchange=GlooExchange(process_group),
        source=source,
    )
