"""The AUC doctor called in: evidence gathered over all ranks, and what it shows."""

from collections.abc import Mapping
from pathlib import Path

from torchrec.distributed import DistributedModelParallel
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from pipeline.auc_doctor.diagnosis import SUSPECT_AUC, diagnose
from pipeline.auc_doctor.findings import Finding, findings_text, plain
from pipeline.auc_doctor.gathering import gather_evidence, look_at_rows
from pipeline.auc_doctor.label_checks import LEAKED_AUC
from pipeline.auc_doctor.table_updates import updated_tables
from pipeline.metrics.evaluation import Evaluation
from pipeline.ranks import Ranks
from pipeline.run_directory import write_json
from pipeline.sources import Source
from pipeline.training.step_log import read_log

NOTHING_FOUND = "none of the causes that it knows shows in the numbers of this run"


def examine(
    evaluation: Evaluation,
    split: str,
    model: DistributedModelParallel,
    tables: Mapping[str, EmbeddingBagConfig],
    source: Source,
    log_path: Path,
    ranks: Ranks,
) -> list[Finding]:
    """What the doctor finds in a model's evaluation on a split, on every rank; a collective. Empty for random data.

    `tables`: parameter names and configs of the tables before they were sharded; `log_path`: the run's log.jsonl, if it is there.
    """
    updated = updated_tables(model, tables, source.seed)
    return ranks.on_zero(lambda: _diagnosis(evaluation, split, source, log_path, updated))


def is_suspect(evaluation: Evaluation) -> bool:
    """Whether an AUC calls for the doctor by itself: near chance, too good, or none at all as with one class only."""
    return not SUSPECT_AUC <= evaluation.auc <= LEAKED_AUC


def tell_findings(findings: list[Finding], path: Path) -> None:
    """The findings on stdout, or that there are none, and in the file at `path`."""
    print(f"\n{findings_text(findings) or f'AUC doctor: {NOTHING_FOUND}.'}")
    write_json(path, {"findings": plain(findings)})


def _diagnosis(
    evaluation: Evaluation, split: str, source: Source, log_path: Path, updated: dict[str, bool]
) -> list[Finding]:
    if source.manifest is None:
        return []  # random data: 0.5 is the right answer
    seen = look_at_rows(source.config.path, source.manifest, split)
    log = read_log(log_path) if log_path.is_file() else []
    run = gather_evidence(evaluation, manifest=source.manifest, log=log, updated_tables=updated, seen=seen)
    return diagnose(run)
