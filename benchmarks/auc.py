"""Exact AUC with its DeLong interval beside scikit-learn's and torchmetrics' AUC alone: python -m benchmarks.auc

Each measurement is a process of its own that loads the same float32 scores and labels, on two threads; the methods take turns,
several rounds. Seconds are those of the metric, imports and loading left out, by the clock and by the processor (which other work
on the machine hardly lengthens); peak memory is the whole process's. Then the rows of `--stream-rows` go through the
bounded-memory metric chunk by chunk, and 1 and 4 ranks are compared bit for bit. The last line is the result as one line of JSON.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 1_000_000
THREADS = 2


def main() -> None:
    arguments = parse_arguments()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        write_scores(folder, arguments.rows, arguments.base_rate)
        rounds = [{name: run_child(name, arguments, folder) for name in METHODS} for _ in range(arguments.rounds)]
        results = {name: summary([found[name] for found in rounds]) for name in METHODS}
        print_table(results, arguments)
        stream = run_child("stream", arguments, folder)
        print(
            f"stream of {stream['rows']:,} rows: {stream['seconds']:.1f} s, peak {stream['peak_gib']:.2f} GiB of memory,"
            f" {stream['spilled_runs']} runs on disk"
        )
        ranks = run_child("ranks", arguments, folder)
        print(f"1 and 4 ranks on {ranks['rows']:,} rows: {'the same bits' if ranks['equal'] else 'DIFFERENT'}")
    ratios = {
        f"times_faster_than_{name}": results[name]["seconds"] / results["shardline"]["seconds"] for name in METHODS[1:]
    }
    print(json.dumps({"rows": arguments.rows, **results, **ratios, "stream": stream, "ranks": ranks}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="scores that every method gets")
    parser.add_argument("--stream-rows", type=int, default=100_000_000, help="scores of the bounded-memory run")
    parser.add_argument("--rank-rows", type=int, default=2_000_000, help="scores of the comparison of ranks")
    parser.add_argument("--base-rate", type=float, default=0.25, help="share of positives, about")
    parser.add_argument("--rounds", type=int, default=3, help="times that the methods are measured in turn")
    parser.add_argument("--memory-mib", type=int, default=512, help="memory setting of the bounded-memory run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def chunks(num_rows: int, base_rate: float) -> Iterator[tuple[NDArray, NDArray]]:
    """Calibrated logit-normal scores around the base rate, float32, and labels drawn from them, bool."""
    centre = np.log(base_rate / (1 - base_rate))
    for chunk, start in enumerate(range(0, num_rows, CHUNK_ROWS)):
        rng = np.random.default_rng(chunk)
        size = min(CHUNK_ROWS, num_rows - start)
        scores = (1 / (1 + np.exp(-rng.standard_normal(size, np.float32) - np.float32(centre)))).astype(np.float32)
        yield scores, rng.random(size, np.float32) < scores


def write_scores(folder: Path, num_rows: int, base_rate: float) -> None:
    with (folder / "scores").open("wb") as scores_file, (folder / "labels").open("wb") as labels_file:
        for scores, labels in chunks(num_rows, base_rate):
            scores.tofile(scores_file)
            labels.tofile(labels_file)


def run_child(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.auc", "--child", name, "--folder", str(folder)]
    for key in ("stream_rows", "rank_rows", "base_rate", "memory_mib"):
        command += [f"--{key.replace('_', '-')}", str(getattr(arguments, key))]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def with_shardline(scores: NDArray, labels: NDArray) -> Callable[[], dict]:
    from pipeline.metrics.summary import evaluate_arrays

    return lambda: evaluate_arrays(scores, labels).metrics()


def with_scikit_learn(scores: NDArray, labels: NDArray) -> Callable[[], dict]:
    from sklearn.metrics import roc_auc_score

    return lambda: {"auc": float(roc_auc_score(labels, scores))}


def with_torchmetrics(scores: NDArray, labels: NDArray) -> Callable[[], dict]:
    import torch
    from torchmetrics.classification import BinaryAUROC

    torch.set_num_threads(THREADS)

    def compute() -> dict:
        metric = BinaryAUROC(thresholds=None, validate_args=False)
        for start in range(0, len(scores), CHUNK_ROWS):
            cut = slice(start, start + CHUNK_ROWS)
            metric.update(torch.from_numpy(scores[cut]), torch.from_numpy(labels[cut]).int())
        return {"auc": float(metric.compute())}

    return compute


MEASURED = {"shardline": with_shardline, "scikit_learn": with_scikit_learn, "torchmetrics": with_torchmetrics}
METHODS = list(MEASURED)


def measure(arguments: argparse.Namespace) -> dict:
    scores = np.fromfile(arguments.folder / "scores", np.float32)
    labels = np.fromfile(arguments.folder / "labels", bool)
    compute = MEASURED[arguments.child](scores, labels)
    start, start_cpu = time.perf_counter(), time.process_time()
    metrics = compute()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gib": peak_gib(), **metrics}


def stream(arguments: argparse.Namespace) -> dict:
    """Rows that never lie in memory together, through the exact metric."""
    from pipeline.metrics.exact import ExactScores

    exact = ExactScores(memory_mib=arguments.memory_mib)
    seconds = 0.0
    for scores, labels in chunks(arguments.stream_rows, arguments.base_rate):
        start = time.perf_counter()
        exact.add(scores, labels)
        seconds += time.perf_counter() - start
    spilled_runs = exact.num_spilled_runs
    start = time.perf_counter()
    metrics = exact.evaluate().metrics()
    seconds += time.perf_counter() - start
    return {
        "rows": arguments.stream_rows,
        "seconds": seconds,
        "spilled_runs": spilled_runs,
        "peak_gib": peak_gib(),
        **metrics,
    }


def compare_ranks(arguments: argparse.Namespace) -> dict:
    """The metrics of the same rows on 1 rank and on 4, dealt like cards."""
    import torch.multiprocessing as mp

    results = []
    for num_ranks in (1, 4):
        queue = mp.get_context("spawn").SimpleQueue()
        store = arguments.folder / f"store-{num_ranks}"
        values = (num_ranks, str(store), arguments.rank_rows, arguments.base_rate, queue)
        mp.spawn(be_rank, values, num_ranks)  # pyright: ignore[reportPrivateImportUsage]
        results += [queue.get() for _ in range(num_ranks)]
    return {"rows": arguments.rank_rows, "equal": all(item == results[0] for item in results), "metrics": results[0]}


def be_rank(rank: int, num_ranks: int, store: str, num_rows: int, base_rate: float, queue) -> None:
    import torch.distributed as dist

    from pipeline.metrics.distributed import distributed_scores

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=num_ranks)
    exact = distributed_scores()
    first_row = 0
    for scores, labels in chunks(num_rows, base_rate):
        exact.add(
            scores[rank::num_ranks],
            labels[rank::num_ranks],
            np.arange(first_row + rank, first_row + len(scores), num_ranks),
        )
        first_row += len(scores)
    queue.put(exact.evaluate().metrics())
    dist.destroy_process_group()


CHILDREN = {**dict.fromkeys(METHODS, measure), "stream": stream, "ranks": compare_ranks}


def peak_gib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def summary(found: list[dict]) -> dict:
    """Medians of seconds and memory, and the figures, which are the same in every round."""
    medians = {key: statistics.median(item[key] for item in found) for key in ("seconds", "cpu_seconds", "peak_gib")}
    spread = {
        "least_seconds": min(item["seconds"] for item in found),
        "most_seconds": max(item["seconds"] for item in found),
    }
    return {**found[0], **medians, **spread}


def print_table(results: dict[str, dict], arguments: argparse.Namespace) -> None:
    exact = results["scikit_learn"]["auc"]
    print(
        f"{arguments.rows:,} float32 scores, about {arguments.base_rate:.1%} positives, medians of {arguments.rounds} rounds"
    )
    print(
        f"{'method':<14} {'seconds':>8} {'least':>7} {'most':>7} {'CPU s':>7} {'peak GiB':>9}  {'AUC':<16} difference"
    )
    for name, item in results.items():
        print(
            f"{name:<14} {item['seconds']:>8.2f} {item['least_seconds']:>7.2f} {item['most_seconds']:>7.2f}"
            f" {item['cpu_seconds']:>7.2f} {item['peak_gib']:>9.2f}  {item['auc']:<16.13f} {item['auc'] - exact:+.1e}"
        )
    ours = results["shardline"]
    print(
        f"the shardline row also has the interval [{ours['auc_low']:.6f}, {ours['auc_high']:.6f}], log loss and calibration"
    )


if __name__ == "__main__":
    main()
