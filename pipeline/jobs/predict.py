"""Bulk scoring of raw files or of a prepared split with a bundle or a checkpoint."""

import json
import time
from pathlib import Path
from typing import Any

from data.raw.bad_lines import BadLines
from pipeline.inference.opened import OpenedModel, open_model
from pipeline.inference.predictions import PREDICTIONS, Crew, finish, is_done, predictions_folder, score_all
from pipeline.inference.work import EXPECTED_ROWS, PreparedWork, RawWork, open_work
from pipeline.inference_config import PredictConfig


def run(config: PredictConfig) -> int:
    """Score what is not scored yet, then put the predictions in their place; 0 when they are there."""
    output = Path(config.output)
    model = open_model(Path(config.model))
    work = open_work(config, model.parts.fitted.spec, model.data_fingerprint)
    identity = _identity(config, model, work)
    if is_done(output, identity):
        print(f"{_description(output)}, as this very job left them: nothing to do")
        return 0
    started = time.monotonic()
    with predictions_folder(output, identity) as folder:
        bad = BadLines(config.max_bad_fraction, EXPECTED_ROWS)
        for account in score_all(work, _crew(config, model, folder), folder):
            bad.add(account)
        finish(folder, output, bad, identity)
    print(f"{_description(output)}, {time.monotonic() - started:,.1f} s")
    return 0


def _crew(config: PredictConfig, model: OpenedModel, folder: Path) -> Crew:
    return Crew(
        model=model.bundle_in(folder / "model"),
        runtime=config.runtime,
        batch_rows=config.batch_rows,
        processes=config.processes,
        threads=config.threads_per_process,
    )


def _identity(config: PredictConfig, model: OpenedModel, work: RawWork | PreparedWork) -> dict[str, Any]:
    """What decides the parts; the number of processes does not."""
    settings = ("split", "has_labels", "runtime", "block_mib", "block_rows", "batch_rows")
    chosen = {name: getattr(config, name) for name in settings}
    return {"model": model.fingerprint, "source": work.marks(), **chosen}


def _description(output: Path) -> str:
    about = json.loads((output / PREDICTIONS).read_text(encoding="utf-8"))
    bad = sum(about["bad_lines"].values())
    return f"{output}: {about['rows']:,} rows scored, {bad:,} bad lines left out, {about['parts']} parts"
