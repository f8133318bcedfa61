"""Rows per second of the random source on one core: python -m benchmarks.random_source

The shapes: Criteo's (13 dense features, 26 one-hot tables) at a large batch, and small batches of 3 and 15 tables, where the
overhead per batch counts. One core makes the rows and cuts the batches. The last line is the result as one line of JSON.
"""

import argparse
import json
import os
import statistics
import time

import torch

from data.config import RandomConfig
from data.generating.random_source import RandomReader

SHAPES = {
    "criteo": (RandomConfig(), 2048),
    "tables_3": (RandomConfig(num_dense=4, table_sizes=(4, 3, 2)), 100),
    "tables_15": (RandomConfig(num_dense=13, table_sizes=(100,) * 12 + (1000,) * 3), 128),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times that each shape is measured")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    result: dict[str, object] = {"benchmark": "random_source", "rounds": rounds}
    for name, (config, batch_size) in SHAPES.items():
        result |= measure(name, config, batch_size, rounds)
    print(json.dumps(result))


def measure(name: str, config: RandomConfig, batch_size: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds, by wall time and by the processor's time, which other work on the machine disturbs less."""
    reader = RandomReader(config, global_batch_size=batch_size, seed=0, rank=0, num_ranks=1, num_epochs=1)
    wall, cpu = (statistics.median(seconds) for seconds in zip(*(read(reader) for _ in range(rounds)), strict=True))
    num_rows = reader.num_steps * batch_size
    print(
        f"{name:10} batch {batch_size:5}   {num_rows / wall:12,.0f} rows/s   {wall / reader.num_steps * 1e3:.4f} ms/batch"
        f"   (by processor time {num_rows / cpu:12,.0f} rows/s   {cpu / reader.num_steps * 1e3:.4f} ms/batch)"
    )
    return {
        f"{name}_rows_per_s": round(num_rows / wall),
        f"{name}_ms_per_batch": round(wall / reader.num_steps * 1e3, 4),
        f"{name}_rows_per_cpu_s": round(num_rows / cpu),
        f"{name}_cpu_ms_per_batch": round(cpu / reader.num_steps * 1e3, 4),
    }


def read(reader: RandomReader) -> tuple[float, float]:
    """Seconds of wall time and of processor time that one epoch takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in reader:
        pass
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
