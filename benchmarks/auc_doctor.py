"""Is the AUC doctor quiet in health, and does it find shuffled labels? python -m benchmarks.auc_doctor

20 sound training runs, each trained and evaluated: four generated datasets (two click rates, two kinds of splits) with five
settings each: interactions, optimizers, seeds. Then the first run once more against its test rows with their labels shuffled, 20
times. The last line is the result as one line of JSON: the runs, their AUCs, every finding in health (there should be none), and
the shuffles that were found (all of them should be). The other causes are planted in tests/pipeline/test_auc_doctor_runs.py.
"""

import argparse
import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.cli import main as shardline

DATASETS = {
    "kaggle": ([], []),
    "kaggle-other-seed": (["--seed=1"], []),
    "rare-clicks": (["--preset=terabyte", "--seed=2", "--num_rows=40000"], []),
    "days": (["--num_days=4", "--seed=3"], ["--split.by=day"]),
}
SETTINGS = {
    "dot": [],
    "cross": ["--model.ranker=dcnv2"],
    "adagrad": ["--optimizer.sparse.algorithm=adagrad"],
    "seed-1": ["--training.seed=1"],
    "two-epochs": ["--training.num_epochs=2"],
}
MODEL = (
    "--model.embedding_dim=4 --model.dense_arch=[8,4] --model.over_arch=[8,1] --training.global_batch_size=240"
    " --training.eval_batch_size=2000 --training.threads_per_rank=1 --training.log_every_steps=5"
    " --optimizer.sparse.lr=0.05 --optimizer.dense.lr=0.01 --device=cpu"
)


def main() -> None:
    arguments = parse_arguments()
    runs: dict[str, float] = {}
    findings: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for dataset in DATASETS:
            prepare(Path(directory), dataset, arguments.rows)
        for dataset, setting in list(product(DATASETS, SETTINGS))[: arguments.runs]:
            name = f"{dataset}-{setting}"
            metrics = train_and_evaluate(Path(directory), dataset, setting, name)
            runs[name] = metrics["test/auc"]
            if "findings" in metrics:
                findings[name] = [item["cause"] for item in metrics["findings"]]
            print(f"{name:<32} AUC {runs[name]:.4f}  {', '.join(findings.get(name, [])) or 'quiet'}", flush=True)
        found = [
            shuffle for shuffle in range(arguments.shuffles) if is_found(Path(directory), next(iter(runs)), shuffle)
        ]
        print(f"shuffled labels found {len(found)} times of {arguments.shuffles}", flush=True)
    result = {"num_runs": len(runs), "num_with_findings": len(findings), "findings": findings, "auc": runs}
    print(json.dumps({**result, "num_shuffles": arguments.shuffles, "num_shuffles_found": len(found)}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000, help="generated rows of each dataset")
    parser.add_argument("--runs", type=int, default=20, help="how many of the 20 runs to do")
    parser.add_argument(
        "--shuffles", type=int, default=20, help="how often to shuffle the test labels of the first run"
    )
    return parser.parse_args()


def prepare(directory: Path, dataset: str, num_rows: int) -> None:
    generate, split = DATASETS[dataset]
    raw = directory / f"{dataset}-raw{'' if '--num_days=4' in generate else '.tsv'}"
    quietly(
        "generate", "criteo-like", f"--output={raw}", f"--num_rows={num_rows}", "--cardinality_scale=0.001", *generate
    )
    quietly("prepare", f"--source={raw}", f"--output={directory / dataset}", "--show_progress=false", *split)


def train_and_evaluate(directory: Path, dataset: str, setting: str, name: str) -> dict:
    places = [f"--data.path={directory / dataset}", f"--runs_dir={directory / 'runs'}", f"--name={name}"]
    quietly("train", *places, *MODEL.split(), *SETTINGS[setting])
    run, out = directory / "runs" / name, directory / "evaluations" / name
    quietly("evaluate", str(run), f"--out={out}", "--device=cpu")
    metrics = json.loads((out / "metrics.json").read_text())
    if (run / "doctor.json").exists():
        metrics.setdefault("findings", json.loads((run / "doctor.json").read_text())["findings"])
    return metrics


def is_found(directory: Path, name: str, shuffle: int) -> bool:
    """Whether the doctor names shuffled labels when a run is evaluated on test rows whose labels are."""
    dataset, out = name.rpartition("-")[0], directory / f"shuffled-{shuffle}"
    data = with_test_labels(
        directory / dataset, directory / f"data-{shuffle}", np.random.default_rng(shuffle).permutation
    )
    quietly("evaluate", str(directory / "runs" / name), f"--data_path={data}", f"--out={out}", "--device=cpu")
    findings = json.loads((out / "metrics.json").read_text()).get("findings", [])
    return [item["cause"] for item in findings] == ["labels of another file"]


def with_test_labels(data: Path, copy: Path, change: Callable[[NDArray], NDArray]) -> Path:
    """A copy of prepared data with other labels in the test split."""
    shutil.copytree(data, copy)
    for part in sorted((copy / "test").glob("*.parquet")):
        table = pq.read_table(part)
        column = table.schema.get_field_index("label")
        labels = change(table.column("label").to_numpy())
        field = table.schema.field("label")
        groups = pq.ParquetFile(part).metadata.row_group(0).num_rows
        pq.write_table(table.set_column(column, field, pa.array(labels, field.type)), part, row_group_size=groups)
    return copy


def quietly(*arguments: str) -> None:
    """A job whose own words are kept back unless it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = shardline(arguments)
    if code:
        raise SystemExit(f"shardline {' '.join(arguments)} ended with {code}:\n{said.getvalue()}")


if __name__ == "__main__":
    main()
