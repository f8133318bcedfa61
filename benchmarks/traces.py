"""Seconds to learn an access pattern and to generate a trace from it, by length: python -m benchmarks.traces

The trace is Zipf's (a million rows, exponent 1.05) on one core. The last line is the result as one line of JSON.
"""

import argparse
import json
import os
import time

import numpy as np

from data.generating.access_pattern import learn
from data.generating.skewed import zipf
from data.generating.traces import generate_trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[100_000, 1_000_000, 4_000_000])
    lengths = parser.parse_args().lengths
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    result: dict[str, object] = {"benchmark": "traces"}
    for length in lengths:
        ids = zipf(1_000_000, 1.05).ranks(np.random.default_rng(0).random(length))
        start = time.perf_counter()
        pattern = learn(ids, "zipf")
        learned = time.perf_counter()
        generate_trace(pattern, length, seed=0)
        end = time.perf_counter()
        print(f"{length:>12,} accesses   learn {learned - start:7.2f} s   generate {end - learned:7.2f} s")
        result |= {f"learn_s_{length}": round(learned - start, 3), f"generate_s_{length}": round(end - learned, 3)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
