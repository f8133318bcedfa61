"""Does the memory of preparing grow with the rows? Peak memory at two numbers of rows, each in a process of its own.

Run as `python -m benchmarks.prepare_memory`. Hashing into tables that both sizes fill keeps nothing per distinct id, so its
two peaks should agree within 10 %. With id maps the peak holds the maps too, which grow with the ids that are frequent enough;
counts beyond --count-memory-mib go to files. At millions of rows with as many distinct ids as the Kaggle log has:

    python -m benchmarks.prepare_memory --rows 10000000 40000000 --ids map --cardinality-scale 1 --runs 1

The last line of output is JSON.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from data.config import GenerateConfig, PrepareConfig
from data.generating.generator import generate
from data.preparing.prepare import prepare

ACCEPTED_GROWTH = 0.10
MOST_GIB = 2
MIB = 2**20


def main() -> None:
    arguments = _parse_arguments()
    figures = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for source, num_rows in _sources(Path(folder), arguments):
            for ids in arguments.ids:
                config = PrepareConfig(
                    source=str(source),
                    output=f"{folder}/{ids}",
                    ids=ids,
                    table_sizes=(1000,) if ids == "hash" else (),
                    count_memory_mib=arguments.count_memory_mib,
                    show_progress=False,
                    force=True,
                )
                # Two threads reach their peaks together or not, by chance: the highest peak of some runs counts.
                runs = [_measure(config) for _ in range(arguments.runs)]
                figures[f"{ids}_{num_rows}"] = figure = max(runs, key=lambda run: run["peak_mib"])
                words = ", ".join(f"{name} {value:,.0f}" for name, value in figure.items())
                print(f"{num_rows:>11,} rows, ids={ids:<4}: {words}", flush=True)
    growth = {
        ids: figures[f"{ids}_{max(arguments.rows)}"]["peak_mib"] / figures[f"{ids}_{min(arguments.rows)}"]["peak_mib"]
        - 1
        for ids in arguments.ids
    }
    is_flat = growth.get("hash", 0.0) <= ACCEPTED_GROWTH
    is_small = all(figure["peak_mib"] < MOST_GIB * 1024 for figure in figures.values())
    print(json.dumps({"benchmark": "prepare_memory", "figures": figures, "growth": growth, "ok": is_flat and is_small}))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 2_000_000], help="rows to prepare")
    parser.add_argument(
        "--ids", nargs="+", choices=["hash", "map"], default=["hash", "map"], help="what becomes of ids"
    )
    parser.add_argument("--cardinality-scale", type=float, default=0.01, help="distinct ids, 1 is the Kaggle log's")
    parser.add_argument(
        "--count-memory-mib", type=int, default=PrepareConfig.count_memory_mib, help="memory for counts"
    )
    parser.add_argument(
        "--source", type=Path, help="Criteo-format text to take the rows from, instead of generated ones"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the highest peak counts")
    parser.add_argument("--folder", help="where to put files; the system's folder for such unless given")
    return parser.parse_args()


def _sources(folder: Path, arguments: argparse.Namespace):
    """Files of so many rows, and how many; one at a time."""
    for num_rows in arguments.rows:
        path = folder / "rows.tsv"
        if arguments.source:
            with arguments.source.open("rb") as source, path.open("wb") as target:
                target.writelines(islice(source, num_rows))
        else:
            generate(GenerateConfig(output=str(path), num_rows=num_rows, cardinality_scale=arguments.cardinality_scale))
            (folder / "rows.truth.parquet").unlink()
        yield path, num_rows
        path.unlink()


def _measure(config: PrepareConfig) -> dict[str, float]:
    """Peak resident memory of one preparation; spawned afresh, so that nothing is inherited."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_prepare, config).result()


def _prepare(config: PrepareConfig) -> dict[str, float]:
    started = time.perf_counter()
    manifest = prepare(config)
    figure = {"peak_mib": _peak_kib() * 1024 / MIB, "rows_per_s": manifest.num_lines / (time.perf_counter() - started)}
    if config.ids == "map":
        figure["distinct_ids"] = sum(each.num_ids for each in manifest.sparse_statistics.values())
        figure["mapped_ids"] = sum(each.num_embeddings - 1 for each in manifest.schema.sparse)
    return figure


def _peak_kib() -> int:
    """High-water mark of this process. (ru_maxrss would not do: it starts from the parent's memory.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


if __name__ == "__main__":
    main()
