"""Training samples per second beside the peers, in turns on this machine: python -m benchmarks.throughput --dlrm CHECKOUT

DLRM with 26 tables of 100,000 rows x 64, dense arch 512-256-64, over arch 512-512-256-1, one id per feature, SGD, on random
data; and DeepFM for DeepCTR-Torch, which has no DLRM. Peers that are not named, or that do not start, are skipped, saying so:

    git clone https://github.com/facebookresearch/dlrm                      # --dlrm dlrm
    git clone https://github.com/reczoo/FuxiCTR                             # --fuxictr FuxiCTR
    python -m venv ctr && ctr/bin/pip install fuxictr deepctr-torch torch   # --ctr-python ctr/bin/python

The last line is one line of JSON.
"""

import argparse
import json
import shutil
import statistics
import sys
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import ENVIRONMENT
from benchmarks.turns import Contestant, Found, ratios, spread, take_turns
from pipeline.training.compiling import missing_compiler
from pipeline.training.precision import bf16_over_fp32

RUNS = Path("artifacts/bench/runs")
CONTESTANTS = Path(__file__).parent.resolve() / "contestants"
DLRM: dict[str, Any] = {
    "num_dense": 13,
    "tables": [100_000] * 26,
    "dim": 64,
    "dense_arch": [512, 256, 64],
    "over_arch": [512, 512, 256, 1],
}
QUICK = {**DLRM, "tables": [1000] * 26, "dim": 8, "dense_arch": [16, 8], "over_arch": [16, 1]}
OURS, FASTEST, READING = "shardline", "shardline, fastest", "shardline, all batches made"
OURS_DEEPFM = "shardline deepfm"
IN_BF16, COMPILED = "--training.precision=bf16", "--training.compile=true"
# Rates that the project holds itself to: ours over theirs, by batch size.
GOALS = {
    (OURS, "faster of torchrec_dlrm and dlrm_s_pytorch"): {1024: 1.15, 8192: 1.15},
    (FASTEST, "faster of torchrec_dlrm and dlrm_s_pytorch"): {1024: 2.5, 8192: 2.5},
    (OURS, "FuxiCTR"): {1024: 8.0, 8192: 2.0},
}
DIFFERENCES = (
    "Ids are uniform and labels random for all; each draws them with its own generator.",
    "shardline, torchrec_dlrm and FuxiCTR use ten batches over and over; dlrm_s_pytorch makes every batch anew, outside its own"
    " clock, which counts here; `all batches made` is shardline with its reader at work in every step.",
    "torchrec_dlrm, FuxiCTR and DeepCTR-Torch neither log nor count AUC while they train; shardline does both.",
    "FuxiCTR clips the norm of all gradients in every step, its default; its tables have dense gradients.",
    "DeepCTR-Torch is timed by `fit`, its loading included; shardline deepfm makes every batch too.",
)


def main() -> None:
    asked = parse_arguments()
    try:
        results = _results(asked)
    finally:
        shutil.rmtree(RUNS, ignore_errors=True)
    settings = {"rounds": asked.rounds, "turn_s": asked.turn_s, "quick": asked.quick, "fastest": [_fastest_setting()]}
    print(json.dumps({"benchmark": "throughput", **settings, "differences": DIFFERENCES, "batches": results}))


def _results(asked: argparse.Namespace) -> dict[str, Any]:
    results = {}
    for batch in asked.batches:
        print(f"\nDLRM, batch {batch}", flush=True)
        found = take_turns(dlrm_contestants(asked, batch), rounds=asked.rounds, turn_s=asked.turn_s)
        deepfm = Found()
        if not asked.no_deepfm:
            print(f"\nDeepFM, batch {batch}", flush=True)
            deepfm = take_turns(deepfm_contestants(asked, batch), rounds=asked.rounds, turn_s=asked.turn_s)
        results[str(batch)] = {"dlrm": _judged(found, batch), "deepfm": _judged(deepfm, batch)}
    return results


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peers(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1024, 8192], help="rows of a step")
    parser.add_argument("--rounds", type=int, default=7, help="times that all are measured in turn")
    parser.add_argument("--turn-s", type=float, default=2.0, help="seconds of a turn, about")
    parser.add_argument("--no-deepfm", action="store_true", help="DLRM alone")
    parser.add_argument("--no-reading", action="store_true", help=f"without `{READING}`")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that everything works")
    return parser.parse_args()


def add_peers(parser: argparse.ArgumentParser) -> None:
    """The options that say where the peers are."""
    parser.add_argument("--dlrm", type=Path, help="a checkout of facebookresearch/dlrm")
    parser.add_argument("--fuxictr", type=Path, help="a checkout of reczoo/FuxiCTR, for its model_zoo")
    parser.add_argument("--ctr-python", type=Path, help="the Python of an environment with fuxictr and deepctr-torch")


def dlrm_contestants(asked: argparse.Namespace, batch: int) -> list[Contestant]:
    shape = {**(QUICK if asked.quick else DLRM), "batch": batch}
    cycled = ["--batches", "10"]
    return [
        _ours(OURS, shape, cycled),
        _fastest(shape, cycled),
        *([] if asked.no_reading else [_ours(READING, shape, [])]),
        _torchrec_dlrm(asked.dlrm, shape),
        _dlrm_s(asked.dlrm, shape),
        _fuxictr(asked.fuxictr, asked.ctr_python, shape),
    ]


def deepfm_contestants(asked: argparse.Namespace, batch: int) -> list[Contestant]:
    shape = {**(QUICK if asked.quick else DLRM), "batch": batch}
    return [
        _ours(OURS_DEEPFM, {**shape, "dense_arch": None}, ["--model.ranker=deepfm"]),
        _peer(
            "DeepCTR-Torch", [asked.ctr_python, "run_deepctr.py", json.dumps(shape)], batch, _needs(asked.ctr_python)
        ),
    ]


def _fastest(shape: dict[str, Any], cycled: list[str]) -> Contestant:
    setting = _fastest_setting()
    if setting == COMPILED and missing_compiler():
        return Contestant(name=FASTEST, missing="no fast bfloat16 products on this processor, and no C++ compiler here")
    return _ours(FASTEST, shape, [*cycled, setting])


@cache
def _fastest_setting() -> str:
    """bfloat16 where the processor multiplies it faster than float32, compiled loops elsewhere: either keeps the AUC."""
    return IN_BF16 if bf16_over_fp32() <= 1 else COMPILED


def _ours(name: str, shape: dict[str, Any], more: list[str]) -> Contestant:
    module = "benchmarks.contestants.run_shardline"
    command = [sys.executable, "-m", module, *more, *shardline_settings(shape), f"--runs_dir={RUNS}"]
    return Contestant(name=name, command=command, batch=shape["batch"])


def shardline_settings(shape: dict[str, Any]) -> list[str]:
    """Settings of `shardline train` for the shape, on random data with SGD; a `dense_arch` of None is left as it is."""
    dense_arch = [f"--model.dense_arch={shape['dense_arch']}"] if shape["dense_arch"] else []
    return [
        "--data.source=random",
        f"--data.random.num_dense={shape['num_dense']}",
        f"--data.random.table_sizes={shape['tables']}",
        f"--data.random.num_rows={shape['batch'] * 200}",
        f"--model.embedding_dim={shape['dim']}",
        *dense_arch,
        f"--model.over_arch={shape['over_arch']}",
        f"--training.global_batch_size={shape['batch']}",
        "--optimizer.sparse.algorithm=sgd",
        "--optimizer.dense.algorithm=sgd",
        "--optimizer.sparse.lr=0.1",
        "--optimizer.dense.lr=0.1",
    ]


def _torchrec_dlrm(checkout: Path | None, shape: dict[str, Any]) -> Contestant:
    settings = {
        "batch_size": shape["batch"],
        "num_embeddings": shape["tables"][0],
        "embedding_dim": shape["dim"],
        "dense_arch_layer_sizes": _joined(shape["dense_arch"], ","),
        "over_arch_layer_sizes": _joined(shape["over_arch"], ","),
        "learning_rate": 0.1,
        "limit_train_batches": 1_000_000,
    }
    options = [f"--{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "run_torchrec_dlrm.py", checkout, *options]
    return _peer("torchrec_dlrm", command, shape["batch"], _needs(checkout))


def _dlrm_s(checkout: Path | None, shape: dict[str, Any]) -> Contestant:
    options = {
        **dlrm_s_options(shape),
        "num-indices-per-lookup": 1,
        "num-indices-per-lookup-fixed": True,
        "num-batches": 1_000_000,
        "print-freq": 1_000_000,
    }
    command = [sys.executable, "run_dlrm_s.py", checkout, *(f"--{key}={value}" for key, value in options.items())]
    return _peer("dlrm_s_pytorch", command, shape["batch"], _needs(checkout))


def dlrm_s_options(shape: dict[str, Any]) -> dict[str, Any]:
    """Options of dlrm_s_pytorch.py for the shape."""
    return {
        "mini-batch-size": shape["batch"],
        "arch-sparse-feature-size": shape["dim"],
        "arch-embedding-size": _joined(shape["tables"], "-"),
        "arch-mlp-bot": _joined([shape["num_dense"], *shape["dense_arch"]], "-"),
        "arch-mlp-top": _joined(shape["over_arch"], "-"),
        "loss-function": "bce",
        "round-targets": True,
        "learning-rate": 0.1,
    }


def _fuxictr(checkout: Path | None, python: Path | None, shape: dict[str, Any]) -> Contestant:
    command = [python, "run_fuxictr.py", checkout, json.dumps(shape)]
    return _peer("FuxiCTR", command, shape["batch"], _needs(checkout, python))


def _peer(name: str, command: list[Any], batch: int, missing: str) -> Contestant:
    """A peer in its own folder and without our code on its path."""
    if missing:
        return Contestant(name=name, missing=missing)
    python, script, *rest = command
    paths = [str(part.absolute()) if isinstance(part, Path) else part for part in (python, CONTESTANTS / script, *rest)]
    return Contestant(name=name, command=paths, batch=batch, environment=ENVIRONMENT)


def _needs(*paths: Path | None) -> str:
    for path in paths:
        if path is None:
            return "not named (see --help)"
        if not path.exists():
            return f"{path} is not there"
    return ""


def _joined(values: list[int], mark: str) -> str:
    return mark.join(map(str, values))


def _judged(found: Found, batch: int) -> dict[str, Any]:
    """Rates, and how many times faster we are, by pair and round by round."""
    pairs = {}
    rates = dict(found.samples_per_s)
    meta = [rates[name] for name in ("torchrec_dlrm", "dlrm_s_pytorch") if name in rates]
    if meta:
        rates["faster of torchrec_dlrm and dlrm_s_pytorch"] = max(meta, key=statistics.median)
    for ours in (name for name in found.samples_per_s if name.startswith("shardline")):
        for theirs in (name for name in rates if not name.startswith("shardline")):
            pairs[f"{ours} / {theirs}"] = ratios(rates[ours], rates[theirs])
    _print(found, pairs, batch)
    return {
        "samples_per_s": {name: spread(values) for name, values in found.samples_per_s.items()},
        "with_loading": {name: spread(values) for name, values in found.with_loading.items()},
        "ratios": pairs,
        "goals": {" / ".join(pair): goal[batch] for pair, goal in GOALS.items() if batch in goal},
        "skipped": found.skipped,
    }


def _print(found: Found, pairs: dict[str, dict[str, Any]], batch: int) -> None:
    for name, values in found.samples_per_s.items():
        rate, loading = spread(values), statistics.median(found.with_loading[name])
        print(
            f"{name:<28} {rate['median']:>10,.0f} samples/s  ({rate['least']:,.0f} to {rate['most']:,.0f}),"
            f" with loading {loading:>10,.0f}"
        )
    goals = {" / ".join(pair): goal.get(batch) for pair, goal in GOALS.items()}
    for pair, ratio in pairs.items():
        goal = goals.get(pair)
        words = f"   goal {goal:g}: {'met' if ratio['median'] >= goal else 'MISSED'}" if goal else ""
        print(f"{pair:<72} {ratio['median']:6.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}){words}")


if __name__ == "__main__":
    main()
