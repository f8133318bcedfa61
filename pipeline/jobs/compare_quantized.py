"""What fewer bits cost, measured: one report of size, quality and speed of several models of the same data."""

from collections import Counter
from pathlib import Path

import torch

from data.errors import ConfigError
from data.reading.stored_split import StoredSplit
from pipeline.inference.latency import Latency, measure
from pipeline.inference.model_parts import ModelParts
from pipeline.inference.opened import OpenedModel, open_model
from pipeline.inference.quality import Quality, check_one_target, judge_models
from pipeline.inference.scoring import scorer_of_parts
from pipeline.inference.tables import float_tables
from pipeline.inference.work import stored_rows
from pipeline.inference_config import CompareQuantizedConfig
from pipeline.reports.provenance import environment_facts
from pipeline.reports.quantized import Compared, quantized_report
from pipeline.reports.writing import write_report

_LATENCY_ROWS = 4096


def run(config: CompareQuantizedConfig) -> int:
    """Judge, measure, print a table, write the report."""
    torch.set_num_threads(config.threads)
    models = {name: open_model(path, config.data_path) for name, path in _named(config.models).items()}
    first = next(iter(models.values()))
    check_one_target(first.parts.schema, "compare-quantized")
    data_path = first.prepared(config.data_path)
    _check_same_data(models)
    scorers = {name: scorer_of_parts(model.parts) for name, model in models.items()}
    qualities = judge_models(scorers, data_path, config.split)
    stored = StoredSplit(data_path, config.split)
    rows = stored_rows(stored, range(min(_LATENCY_ROWS, stored.num_rows)))
    speeds = measure(scorers, rows, config.batch_sizes, config.rounds, config.seconds_per_round)
    compared = [_compared(name, models[name].parts, qualities[name], speeds[name]) for name in models]
    report = quantized_report(compared, config.split, _provenance(config, first, data_path))
    print(_table(compared))
    print(f"\nreport  {write_report(config.out, report)}")
    return 0


def _named(paths: tuple[str, ...]) -> dict[str, Path]:
    """The models by the last part of their paths that tells them apart."""
    named = [Path(path) for path in paths]
    if len({path.resolve() for path in named}) < len(named):
        raise ConfigError("A model is named twice; give each once.")
    names = [path.name for path in named]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in named}


def _check_same_data(models: dict[str, OpenedModel]) -> None:
    (first, reference), *others = models.items()
    for name, model in others:
        if model.data_fingerprint != reference.data_fingerprint:
            raise ConfigError(
                f"{name} was trained on data of the fingerprint {model.data_fingerprint[:12]}, {first} on"
                f" {reference.data_fingerprint[:12]}: they cannot score the same rows. Compare models of one prepared dataset."
            )


def _compared(name: str, parts: ModelParts, quality: Quality, latencies: list[Latency]) -> Compared:
    kinds = parts.precision.tables.values() or (str(each.dtype) for each in float_tables(parts.weights).values())
    counted = Counter({"torch.float32": "fp32", "torch.float16": "fp16"}.get(kind, kind) for kind in kinds)
    return Compared(
        name=name,
        tables=", ".join(f"{count} {kind}" for kind, count in counted.items()),
        dense=parts.precision.dense,
        num_bytes=sum(weight.numel() * weight.element_size() for weight in parts.weights.values()),
        quality=quality,
        latencies=latencies,
    )


def _provenance(config: CompareQuantizedConfig, first: OpenedModel, data_path: Path) -> dict[str, str]:
    rounds = f"{config.rounds} rounds of {config.seconds_per_round:g} s for each model and batch size, {config.threads} thread(s)"
    return {
        "Models": ", ".join(config.models),
        "Data": f"{data_path}, {config.split}, fingerprint {first.data_fingerprint[:16]}",
        "Latency": f"measured: {rounds}, the models in turn",
        **environment_facts(),
    }


def _table(compared: list[Compared]) -> str:
    width = max(12, *(len(model.name) for model in compared))
    lines = [
        f"{'model':<{width}} {'MiB':>9} {'AUC':>9} {'difference':>11}  {'95 % interval':<23} {'log loss':>9}  99.9 %"
    ]
    for model in compared:
        auc, evaluation = model.quality.auc, model.quality.evaluation
        lines.append(
            f"{model.name:<{width}} {model.num_bytes / 2**20:>9,.2f} {evaluation.auc:>9.6f} {auc.value:>+11.6f}"
            f"  [{auc.low:+.6f}, {auc.high:+.6f}] {evaluation.logloss:>9.6f}  {model.quality.verdict(0.999)}"
        )
    sizes = [each.batch_size for each in compared[0].latencies]
    lines.append(
        f"\n{'p50 / p99 ms':<{width}} " + " ".join(f"{f'{size:,} rows':>19}" for size in sizes) + f" {'rows/s':>12}"
    )
    for model in compared:
        cells = (f"{each.p50_ms:.3f} / {each.p99_ms:.3f}" for each in model.latencies)
        best = max(each.median_rows_per_s for each in model.latencies)
        lines.append(f"{model.name:<{width}} " + " ".join(f"{cell:>19}" for cell in cells) + f" {best:>12,.0f}")
    return "\n".join(lines)
