"""What is told while a job trains: a line on stderr, a JSON line in the run's log, scalars for TensorBoard."""

import json
import logging
import sys
from pathlib import Path
from typing import TextIO

from torch.utils.tensorboard import SummaryWriter

from pipeline.run_directory import RunDirectory

logger = logging.getLogger(__name__)


class StepLog:
    """Rank 0's log. Rows have stable flat keys: `train/loss`, `eval/auc`, `perf/samples_per_s`, `time/data_ms` ..."""

    def __init__(self, directory: RunDirectory, last_step: int, first_step: int = 0) -> None:
        self._file: TextIO = directory.log.open("a", buffering=1)
        self._writer = SummaryWriter(str(directory.tensorboard), purge_step=first_step + 1 if first_step else None)
        self._last_step = last_step

    def training(self, step: int, row: dict[str, float]) -> None:
        """One row about the steps since the last one."""
        self._keep(step, row)
        parts = " ".join(
            f"{part} {row[f'time/{part}_ms']:.1f}" for part in ("data", "forward", "backward", "optimizer")
        )
        print(
            f"step {step:>7,}/{self._last_step:,}  loss {row['train/loss']:.4f}{_auc(row)}"
            f"  lr {row['lr/sparse']:.2e}/{row['lr/dense']:.2e}  {row['perf/samples_per_s']:>9,.0f} samples/s"
            f"  ms {parts}  {row['memory/rss_gib']:.2f} GiB",
            file=sys.stderr,
        )

    def evaluation(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """One row about an evaluation on the way."""
        self._keep(step, {f"eval/{key}": value for key, value in metrics.items()})
        print(
            f"step {step:>7,}/{self._last_step:,}  {split}: AUC {metrics['auc']:.5f}  log loss {metrics['logloss']:.5f}"
            f"  NE {metrics['ne']:.5f}",
            file=sys.stderr,
        )

    def close(self) -> None:
        self._file.close()
        self._writer.close()

    def _keep(self, step: int, row: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        for key, value in row.items():
            self._writer.add_scalar(key, value, step)


class SilentLog:
    """The other ranks' log: nothing."""

    def training(self, step: int, row: dict[str, float]) -> None: ...

    def evaluation(self, step: int, split: str, metrics: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def keep_log_up_to(path: Path, step: int) -> None:
    """Take out of a log, if it is there, the rows after a step: a run that goes on from there writes them anew."""
    if not path.is_file():
        return
    kept = [json.dumps(row) + "\n" for row in read_log(path) if row["step"] <= step]
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text("".join(kept))
    aside.replace(path)


def _auc(row: dict[str, float]) -> str:
    """The certified bounds of the AUC since the last line, where there is one."""
    return f"  AUC {row['train/auc_low']:.4f}-{row['train/auc_high']:.4f}" if "train/auc_low" in row else ""


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            logger.warning("%s: a line that is not JSON was skipped: %.80s", path, line)
    return rows
