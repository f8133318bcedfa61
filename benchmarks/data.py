"""Rows per second of preparing and of reading, beside pyarrow alone and other projects' preprocessing: python -m benchmarks.data

All read the same rows, in turn, several rounds. A rate is told per second of the clock and per second of the processor: other
work on the machine disturbs the second less. torchrec's preprocessing takes part where iopath is installed, which it needs to
open files, and can be given on PYTHONPATH; FuxiCTR's where --fuxictr-python names a Python that has it installed. Both get fewer
rows, being slower. At last a small model is trained on the prepared rows, to see how long a step waits for its batch. The last
line is one line of JSON.
"""

import argparse
import importlib.util
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from benchmarks import ENVIRONMENT
from benchmarks.reader import read_with_pyarrow, read_with_reader
from data.config import GenerateConfig, PrepareConfig
from data.criteo import DENSE_NAMES, SPARSE_NAMES
from data.generating.generator import generate
from data.preparing.prepare import prepare
from data.reading.reader import TrainReader

# The lines that the project holds itself to, as fractions of what stands beside each.
GOALS = {
    "prepare with id maps / pyarrow CSV": 0.3,
    "prepare with hashing / pyarrow CSV": 0.5,
    "prepare with id maps / torchrec tsv_to_npys": 6.0,
    "prepare with id maps / FuxiCTR": 12.0,
    "reader / pyarrow Parquet": 0.6,
}
LARGEST_WAITING_SHARE = 0.02
PASSES = 4
"""Times that the prepared rows are read: a million of them are read in a third of a second, of which starting is a large part."""
MODEL = "--ranks=1 --model.embedding_dim=16 --model.dense_arch=[64,32,16] --model.over_arch=[128,64,1]"
HAS_IOPATH = importlib.util.find_spec("iopath") is not None


@dataclass(frozen=True)
class Speed:
    """Rows per second of the clock and of the processor (all threads)."""

    wall: float
    cpu: float


def main() -> None:
    arguments = parse_arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        generate(GenerateConfig(output=str(folder / "rows.tsv"), num_rows=arguments.rows))
        (folder / "rows.truth.parquet").unlink()
        write_few(folder, arguments.peer_rows)
        rounds = [one_round(folder, arguments) for _ in range(arguments.rounds)]
        waiting = waiting_share(folder, arguments.batch_size)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    print_result(arguments, rounds, waiting)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="Criteo-format rows to prepare and to read")
    parser.add_argument("--peer-rows", type=int, default=100_000, help="rows for the slower preprocessing of others")
    parser.add_argument(
        "--fuxictr-python", help="a Python that has FuxiCTR installed, such as that of an environment of its own"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of preparing")
    parser.add_argument("--batch-size", type=int, default=2048, help="rows of a global batch")
    parser.add_argument("--rounds", type=int, default=3, help="times that all are measured in turn")
    parser.add_argument("--folder", help="where to put files; the system's folder for such unless given")
    return parser.parse_args()


def write_few(folder: Path, num_rows: int) -> None:
    """The first rows once more, without and with a header."""
    header = "\t".join(["label", *DENSE_NAMES, *SPARSE_NAMES]) + "\n"
    with (folder / "rows.tsv").open("rb") as source, (folder / "few.tsv").open("wb") as target:
        target.writelines(islice(source, num_rows))
    (folder / "few.csv").write_bytes(header.encode() + (folder / "few.tsv").read_bytes())


def one_round(folder: Path, arguments: argparse.Namespace) -> dict[str, Speed]:
    source, prepared = folder / "rows.tsv", folder / "prepared"
    speeds = {
        "pyarrow CSV": speed(lambda: read_csv(source)),
        "prepare with id maps": speed(lambda: prepare_by(source, prepared, "map", arguments.threads)),
        "prepare with hashing": speed(lambda: prepare_by(source, folder / "hashed", "hash", arguments.threads)),
    }
    if HAS_IOPATH:
        speeds["torchrec tsv_to_npys"] = speed(lambda: tsv_to_npys(folder / "few.tsv"))
    if arguments.fuxictr_python:
        rate = arguments.peer_rows / fuxictr_seconds(arguments.fuxictr_python, folder)
        speeds["FuxiCTR"] = Speed(rate, math.nan)
    reader = TrainReader(
        prepared,
        global_batch_size=arguments.batch_size,
        seed=0,
        rank=0,
        num_ranks=1,
        num_epochs=PASSES,
        verify_pages=False,
    )
    columns = ["row_id", "label", *reader.schema.dense, *reader.schema.sparse_names]
    speeds["pyarrow Parquet"] = speed(lambda: sum(read_with_pyarrow(prepared, columns) for _ in range(PASSES)))
    speeds["reader"] = speed(lambda: read_with_reader(reader))
    return speeds


def speed(read: Callable[[], int]) -> Speed:
    wall, cpu = time.perf_counter(), time.process_time()
    num_rows = read()
    return Speed(num_rows / (time.perf_counter() - wall), num_rows / (time.process_time() - cpu))


def read_csv(source: Path) -> int:
    """All columns with their types, block after block, on all cores."""
    names = ["label", *DENSE_NAMES, *SPARSE_NAMES]
    types = dict.fromkeys(["label", *DENSE_NAMES], pa.int64()) | dict.fromkeys(SPARSE_NAMES, pa.string())
    reading = pa_csv.open_csv(
        source,
        read_options=pa_csv.ReadOptions(column_names=names),
        parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=True),
    )
    return sum(batch.num_rows for batch in reading)


def prepare_by(source: Path, output: Path, ids: Literal["map", "hash"], num_threads: int) -> int:
    sizes = (100_000,) if ids == "hash" else ()
    config = PrepareConfig(
        source=str(source),
        output=str(output),
        ids=ids,
        table_sizes=sizes,
        num_threads=num_threads,
        show_progress=False,
        force=True,
    )
    return prepare(config).num_lines


def tsv_to_npys(source: Path) -> int:
    from torchrec.datasets.criteo import BinaryCriteoUtils

    outputs = [str(source.with_name(f"{source.stem}_{kind}.npy")) for kind in ("dense", "sparse", "labels")]
    BinaryCriteoUtils.tsv_to_npys(str(source), *outputs)
    return len(np.load(outputs[2], mmap_mode="r"))


def fuxictr_seconds(python: str, folder: Path) -> float:
    """What FuxiCTR takes, by a clock that starts when it is imported and its workers are up."""
    output = folder / "fuxictr"
    script = Path(__file__).with_name("fuxictr_prepare.py")
    job = [python, str(script), str(folder / "few.csv"), str(output)]
    done = subprocess.run(job, capture_output=True, text=True, check=True, cwd=folder, env=ENVIRONMENT)
    shutil.rmtree(output)
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def waiting_share(folder: Path, batch_size: int) -> float:
    """Share of a training step that one rank waits for its batch, the median over the lines of the log but the first."""
    job = [
        sys.executable,
        "-m",
        "pipeline",
        "train",
        f"--data.path={folder / 'prepared'}",
        f"--runs_dir={folder / 'runs'}",
    ]
    settings = (
        f"--name=waits --training.global_batch_size={batch_size} --training.log_every_steps=20 --training.num_epochs=1"
    )
    subprocess.run([*job, *settings.split(), *MODEL.split()], check=True, capture_output=True)
    lines = [json.loads(line) for line in (folder / "runs/waits/log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "time/data_ms" in line][1:]
    return statistics.median(line["time/data_ms"] * line["perf/samples_per_s"] / batch_size / 1000 for line in steps)


def print_result(arguments: argparse.Namespace, rounds: list[dict[str, Speed]], waiting: float) -> None:
    for name in rounds[0]:
        wall, cpu = ([getattr(each[name], kind) for each in rounds] for kind in ("wall", "cpu"))
        print(
            f"{name:<22} {statistics.median(wall):12,.0f} rows/s   {statistics.median(cpu):12,.0f} rows per CPU second"
        )
    fractions = {}
    for pair, goal in GOALS.items():
        ours, theirs = pair.split(" / ")
        if theirs not in rounds[0]:
            print(
                f"{pair:<46} left out: {'iopath is not installed' if 'torchrec' in pair else 'no --fuxictr-python given'}"
            )
            continue
        found = statistics.median(each[ours].wall / each[theirs].wall for each in rounds)
        fractions[pair] = round(found, 3)
        print(f"{pair:<46} {found:6.2f}   goal {goal:g}   {'met' if found >= goal else 'MISSED'}")
    met = "met" if waiting < LARGEST_WAITING_SHARE else "MISSED"
    print(f"{'waiting for data / training step':<46} {waiting:6.2%}   goal below {LARGEST_WAITING_SHARE:.0%}   {met}")
    medians = {name: round(statistics.median(each[name].wall for each in rounds)) for name in rounds[0]}
    settings = {name: getattr(arguments, name) for name in ("rows", "peer_rows", "threads", "batch_size", "rounds")}
    found = {"rows_per_s": medians, "fractions": fractions, "waiting_share": round(waiting, 4)}
    print(json.dumps({"benchmark": "data", **settings, **found}))


if __name__ == "__main__":
    main()
