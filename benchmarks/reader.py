"""Rows per second of the training reader beside pyarrow alone on the same Parquet row groups: python -m benchmarks.reader

Both read the same columns with one decoding thread, in turn, several rounds; the last line is the result as one line of JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data.criteo import DENSE_NAMES, SPARSE_NAMES
from data.manifest import Manifest
from data.preparing.parts import PartWriter
from data.reading.reader import TrainReader
from data.schema import Schema, SparseFeature

TABLE_ROWS = 100_000
CHUNK_ROWS = 131_072

Speed = tuple[float, float]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        dataset = arguments.dataset or write_dataset(Path(directory), arguments.rows)
        reader = TrainReader(
            dataset,
            global_batch_size=arguments.batch_size,
            seed=0,
            rank=0,
            num_ranks=arguments.ranks,
            num_epochs=1,
            verify_pages=arguments.verify_pages,
        )
        columns = ["row_id", "label", *reader.schema.dense, *reader.schema.sparse_names]
        rounds = [
            (speed(lambda: read_with_pyarrow(dataset, columns)), speed(lambda: read_with_reader(reader)))
            for _ in range(arguments.rounds)
        ]
    print_result(arguments, rounds)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows to write and read")
    parser.add_argument("--dataset", type=Path, help="a prepared dataset to read instead")
    parser.add_argument("--batch-size", type=int, default=2048, help="rows of a global batch")
    parser.add_argument("--ranks", type=int, default=1, help="read the share of the first of so many ranks")
    parser.add_argument(
        "--verify-pages", action="store_true", help="let the reader compare checksums, as pyarrow does not"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that both are measured in turn")
    return parser.parse_args()


def write_dataset(directory: Path, num_rows: int) -> Path:
    """Criteo-shaped rows with skewed ids, stored as the prepare job stores them."""
    rng = np.random.default_rng(0)
    writer = None
    for block, start in enumerate(range(0, num_rows, CHUNK_ROWS)):
        table = random_table(rng, start, min(CHUNK_ROWS, num_rows - start))
        writer = writer or PartWriter(directory, "train", table.schema, rows_per_part=1_048_576, row_group_rows=4096)
        writer.write(table, block)
    assert writer is not None
    sparse = tuple(SparseFeature(name=name, num_embeddings=TABLE_ROWS) for name in SPARSE_NAMES)
    Manifest(
        schema=Schema(dense=DENSE_NAMES, sparse=sparse),
        splits={"train": writer.close()},
        sparse_statistics={},
        dense_statistics={},
        num_lines=num_rows,
        row_group_rows=4096,
        settings={},
        origin=(),
        fingerprint="",
    ).save(directory)
    return directory


def random_table(rng: np.random.Generator, start: int, num_rows: int) -> pa.Table:
    columns = {"row_id": np.arange(start, start + num_rows), "label": rng.integers(0, 2, num_rows, dtype=np.int8)}
    columns |= {name: np.log1p(rng.integers(0, 1000, num_rows)).astype(np.float32) for name in DENSE_NAMES}
    columns |= {name: (rng.zipf(1.2, num_rows) % TABLE_ROWS).astype(np.int32) for name in SPARSE_NAMES}
    return pa.table(columns)


def speed(read: Callable[[], int]) -> Speed:
    """Rows per second of wall time, and of processor time, which other work on the machine disturbs less."""
    wall, cpu = time.perf_counter(), time.process_time()
    num_rows = read()
    return num_rows / (time.perf_counter() - wall), num_rows / (time.process_time() - cpu)


def read_with_pyarrow(dataset: Path, columns: list[str]) -> int:
    num_rows = 0
    for path in sorted((dataset / "train").iterdir()):
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                num_rows += file.read_row_group(group, columns=columns, use_threads=False).num_rows
    return num_rows


def read_with_reader(reader: TrainReader) -> int:
    return sum(batch.num_rows for batch in reader)


def print_result(arguments: argparse.Namespace, rounds: list[tuple[Speed, Speed]]) -> None:
    for alone, ours in rounds:
        print(f"pyarrow alone {alone[0]:12,.0f} rows/s   reader {ours[0]:12,.0f} rows/s   {ours[0] / alone[0]:6.1%}")
    result = {
        "benchmark": "reader",
        "batch_size": arguments.batch_size,
        "ranks": arguments.ranks,
        "verify_pages": arguments.verify_pages,
        "pyarrow_rows_per_s": round(statistics.median(alone[0] for alone, _ in rounds)),
        "reader_rows_per_s": round(statistics.median(ours[0] for _, ours in rounds)),
        "fraction_of_pyarrow": round(statistics.median(ours[0] / alone[0] for alone, ours in rounds), 3),
        "pyarrow_rows_per_cpu_s": round(statistics.median(alone[1] for alone, _ in rounds)),
        "reader_rows_per_cpu_s": round(statistics.median(ours[1] for _, ours in rounds)),
        "rounds": arguments.rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
