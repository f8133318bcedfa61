"""Does the memory of preparing grow with the rows? Peak memory at two numbers of rows, each in a process of its own.

Run as `python -m benchmarks.prepare_memory`. Hashing into tables that both sizes fill keeps nothing per distinct id, so its
two peaks should agree within 10 %. With id maps the peak holds the maps and the counts behind them too: they grow with the
distinct ids, and their size is shown beside it. The last line of output is JSON.
"""

import json
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

from data.config import GenerateConfig, PrepareConfig
from data.generating.generator import generate
from data.preparing.prepare import prepare

NUM_ROWS = (200_000, 2_000_000)
# Two threads reach their peaks together or not, by chance: the highest peak of some runs counts, for few rows and for many.
NUM_RUNS = 3
ACCEPTED_GROWTH = 0.10
MIB = 2**20
Ids = Literal["map", "hash"]
MODES: tuple[Ids, ...] = ("hash", "map")


def main() -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in NUM_ROWS:
            source = Path(folder) / f"{num_rows}.tsv"
            generate(GenerateConfig(output=str(source), num_rows=num_rows))
            for ids in MODES:
                figures[f"{ids}_{num_rows}"] = figure = max((_measure(source, ids) for _ in range(NUM_RUNS)), key=_peak)
                print(f"{num_rows:>9,} rows, ids={ids:<4}: peak {figure['peak_mib']:.0f} MiB", flush=True)
                if "id_maps_mib" in figure:
                    print(f"{'':>25}of which id maps and counts about {figure['id_maps_mib']:.0f} MiB", flush=True)
            source.unlink()
    few, many = (figures[f"hash_{num_rows}"]["peak_mib"] for num_rows in NUM_ROWS)
    growth = many / few - 1
    print(
        json.dumps(
            {"benchmark": "prepare_memory", "figures": figures, "growth": growth, "ok": growth <= ACCEPTED_GROWTH}
        )
    )


def _peak(figure: dict[str, float]) -> float:
    return figure["peak_mib"]


def _measure(source: Path, ids: Ids) -> dict[str, float]:
    """Peak resident memory of one preparation; spawned afresh, so that nothing is inherited."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_prepare, source, ids).result()


def _prepare(source: Path, ids: Ids) -> dict[str, float]:
    sizes = (1000,) if ids == "hash" else ()
    output = str(source.with_suffix(f".{ids}"))
    config = PrepareConfig(
        source=str(source), output=output, ids=ids, table_sizes=sizes, force=True, show_progress=False
    )
    manifest = prepare(config)
    peak_mib = _peak_kib() * 1024 / MIB
    if ids == "hash":
        return {"peak_mib": peak_mib}
    # An id takes 8 bytes while it is counted and about 20 in its finished map (id, count, key, row, bucket start).
    num_ids = sum(feature.num_ids for feature in manifest.sparse_statistics.values())
    return {"peak_mib": peak_mib, "num_ids": num_ids, "id_maps_mib": num_ids * 28 / MIB}


def _peak_kib() -> int:
    """High-water mark of this process. (ru_maxrss would not do: it starts from the parent's memory.)"""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


if __name__ == "__main__":
    main()
