"""What memory buys: AUC on planted data with narrower tables, mixed dimensions and quotient-remainder tables.

Run as `python -m benchmarks.table_memory [seeds]`. It prepares generated rows whose best possible AUC is known, trains the demo's
DLRM for each way to make its tables smaller and each seed (one, unless told otherwise), prints a Markdown table of the means, and
draws docs/images/models-table-memory.svg. Runs that are there already are not trained again.
"""

import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.checkpointing.choosing import last_good
from pipeline.checkpointing.meta import read_meta
from pipeline.cli import main as shardline
from pipeline.reports.figures import figure_svg, new_figure

NUM_ROWS = 400_000
SEEDS = range(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
WORK = Path("artifacts/table_memory")
IMAGE = Path("docs/images/models-table-memory.svg")
MIB = 2**20
TICKS = (0.2, 0.5, 1, 2, 5)
SPLIT, MIXED = "--model.tables.quotient_remainder", "--model.tables.mixed_dimensions"


@dataclass(frozen=True)
class Point:
    """One way to lay out the tables, and what came of it."""

    family: str
    label: str
    mib: float
    aucs: tuple[float, ...]
    """One for each seed."""

    @property
    def auc(self) -> float:
        return statistics.mean(self.aucs)


def main() -> None:
    data = _data()
    points = [_point(data, family, label, settings) for family, label, settings in _ways()]
    best = _metrics(WORK / "runs" / _name("plain", "16 columns", SEEDS[0]))["data/best_auc"]
    print(_markdown(points, best))
    IMAGE.write_text(_drawn(points, best))


def _ways() -> Iterator[tuple[str, str, list[str]]]:
    """Family, label and settings of each layout."""
    for dim in (16, 8, 4):
        yield "plain", f"{dim} columns", [f"--model.embedding_dim={dim}", f"--model.dense_arch=[64,32,{dim}]"]
    for temperature in (0.1, 0.2, 0.3, 0.5):
        yield "mixed dimensions", f"temperature {temperature}", [f"{MIXED}.temperature={temperature}"]
    for operation in ("mult", "add"):
        for collisions in (2, 4, 16, 64):
            settings = [f"{SPLIT}.operation={operation}", f"{SPLIT}.collisions={collisions}"]
            yield f"quotient-remainder, {operation}", f"{collisions} collisions", settings
    yield "both", "mult 4, temperature 0.2", [f"{SPLIT}.operation=mult", f"{MIXED}.temperature=0.2"]


def _data() -> Path:
    raw, prepared = WORK / "rows.tsv", WORK / "rows"
    if not prepared.is_dir():
        WORK.mkdir(parents=True, exist_ok=True)
        _do("generate", "criteo-like", f"--num_rows={NUM_ROWS}", f"--output={raw}", "--cardinality_scale=0.01")
        _do("prepare", f"--source={raw}", f"--output={prepared}", "--show_progress=false")
    return prepared


def _point(data: Path, family: str, label: str, settings: list[str]) -> Point:
    runs = [_trained(data, _name(family, label, seed), [*settings, f"--training.seed={seed}"]) for seed in SEEDS]
    tables = read_meta(last_good(runs[0])).tables
    mib = sum(4 * rows * width for rows, width in tables.values()) / MIB
    return Point(family, label, mib, tuple(_metrics(run)["test/auc"] for run in runs))


def _trained(data: Path, name: str, settings: list[str]) -> Path:
    run = WORK / "runs" / name
    if not (run / "metrics.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        _do(
            *("train", "--config=pipeline/configs/demo.yaml", f"--data.path={data}", f"--runs_dir={run.parent}"),
            *(f"--name={name}", "--ranks=1", "--device=cpu", "--training.threads_per_rank=1"),
            *("--training.eval_every_steps=null", "--schedule.decay_start_step=250", "--schedule.decay_steps=65"),
            *settings,
        )
    return run


def _metrics(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


def _do(*arguments: str) -> None:
    if code := shardline(list(arguments)):
        sys.exit(code)


def _name(family: str, label: str, seed: int) -> str:
    return f"{family}-{label}-{seed}".replace(" ", "_").replace(",", "")


def _markdown(points: list[Point], best: float) -> str:
    lines = ["| tables | layout | MiB | test AUC | sd over seeds | share of the way from 0.5 to the best |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for point in points:
        share = (point.auc - 0.5) / (best - 0.5)
        sd = f"{statistics.stdev(point.aucs):.4f}" if len(SEEDS) > 1 else "-"
        lines.append(f"| {point.family} | {point.label} | {point.mib:.2f} | {point.auc:.4f} | {sd} | {share:.1%} |")
    return "\n".join([*lines, "", f"Best possible AUC: {best:.4f}"])


def _drawn(points: list[Point], best: float) -> str:
    figure, axes = new_figure(wide=True)
    for family in dict.fromkeys(point.family for point in points):
        of_family = sorted((point for point in points if point.family == family), key=lambda point: point.mib)
        axes.plot([point.mib for point in of_family], [point.auc for point in of_family], marker="o", label=family)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axes.minorticks_off()
    axes.axhline(best, color="black", linewidth=1, linestyle=":")
    axes.text(min(point.mib for point in points), best, "best possible", va="bottom")
    axes.set(
        xlabel="embedding weights, MiB",
        ylabel=f"test AUC, mean of {len(SEEDS)} seeds" if len(SEEDS) > 1 else "test AUC",
        title="What memory buys on planted data",
    )
    axes.legend()
    return figure_svg(figure, "table-memory")


if __name__ == "__main__":
    main()
