"""The generate job: Criteo-format text with a planted click model, and the best AUC possible on it; or traces of ids."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data.aside import written_aside
from data.config import GenerateConfig
from data.generating.generator import GeneratedFile, generate
from data.generating.trace_file import write_traces
from data.truth import iter_truth, raw_stem
from pipeline.metrics.exact import ExactScores


def run(config: GenerateConfig) -> int:
    """Exit code 0 when the traces, or the text, the true click probabilities and a summary beside them, are written."""
    if config.kind == "trace":
        columns = write_traces(config)
        print(f"{config.output}: {config.num_rows:,} rows of ids in {len(columns)} columns: {', '.join(columns.names)}")
        return 0
    files = generate(config)
    best = best_possible(files)
    path = summary_path(config)
    with written_aside(path) as partial:
        partial.write_text(json.dumps({"best": best, "settings": asdict(config)}, indent=1) + "\n")
    print(f"{config.output}: {config.num_rows:,} rows, {best['num_positives'] / best['num_samples']:.1%} clicks")
    print(f"  best possible AUC {best['auc']:.4f}, log loss {best['logloss']:.4f} ({path})")
    return 0


def best_possible(files: list[GeneratedFile]) -> dict[str, float]:
    """Figures of the true click probabilities as scores, over all files: no model does better but by chance."""
    exact = ExactScores(score_dtype=np.float64, source="the planted probabilities")
    for file in files:
        for probabilities, labels in iter_truth(file.truth_path):
            exact.add(probabilities, labels)
    return {name: float(value) for name, value in exact.evaluate().summary().items()}


def summary_path(config: GenerateConfig) -> Path:
    """`x.json` beside `x.tsv.gz`, or `summary.json` in a folder of days."""
    output = Path(config.output)
    if config.num_days > 1:
        return output / "summary.json"
    return output.with_name(f"{raw_stem(output)}.json")
