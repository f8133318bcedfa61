"""All benchmarks of speed, and their report: python -m benchmarks.suite (make bench)

Runs every part as its own script does, in turn, keeps what each gives in artifacts/bench/, and writes
docs/benchmarks/<hardware>_<date>.md and .json with plots, from the newest result of every part. The peers are named by options
and skipped, saying so, where they are not (`python -m benchmarks.throughput --help` says how to get them). Run it on a machine
that does nothing else; parts can be run one by one:

    python -m benchmarks.suite --parts roofline growth
    python -m benchmarks.suite --parts throughput-8192 --dlrm dlrm --fuxictr FuxiCTR --ctr-python ctr/bin/python
    python -m benchmarks.suite --short                      # a quarter of an hour in all: fewer rounds, smaller shares
    python -m benchmarks.suite --parts                      # only writes the report anew
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.suite_report import write_suite_report
from benchmarks.throughput import add_peers

RESULTS = Path("artifacts/bench")
REPORTS = Path("docs/benchmarks")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One script of the suite: its settings, those of a short run, and those that only show that everything works."""

    script: str
    settings: str = ""
    short: str = ""
    quick: str = "--quick"
    has_peers: bool = False


PARTS = {
    **{
        f"throughput-{batch}": Part(
            script="throughput",
            settings=f"--batches {batch}",
            short=f"--batches {batch} --turn-s 1.5 --no-reading {'--rounds 4 --no-deepfm' if batch == 8192 else '--rounds 5'}",
            quick=f"--quick --batches {batch} --rounds 2 --turn-s 0.2",
            has_peers=True,
        )
        for batch in (1024, 8192)
    },
    **{
        f"walkthrough-{jobs.replace(' ', '-')}": Part(
            script="walkthrough",
            settings=f"--jobs {jobs}",
            short=f"--jobs {jobs} --rounds 1 --scale 0.4",
            quick=f"--quick --rounds 1 --jobs {jobs}",
            has_peers=True,
        )
        for jobs in ("1", "2", "3 4")
    },
    "roofline": Part(script="roofline", short="--steps 8", quick="--quick --batch 64 --steps 3"),
    "growth": Part(
        script="growth",
        short="--points 3 --steps 8",
        quick="--quick --steps 3 --axes batch --no-projection",
    ),
    # At a million rows memory has reached its level; in `--short`, from 100,000 on, it is still on its way there.
    "rows": Part(script="rows", settings="--rows 1000000", short="--rounds 1", quick="--rows 5000 --rounds 1"),
    "auc": Part(
        script="auc",
        quick="--rows 20000 --stream-rows 20000 --rank-rows 2000 --rounds 1",
        short="--rounds 1 --stream-rows 20000000",
    ),
    "data": Part(script="data", short="--rounds 1", quick="--rows 3000 --peer-rows 300 --rounds 1"),
}


def main() -> None:
    asked = parse_arguments()
    asked.results.mkdir(parents=True, exist_ok=True)
    failed = [name for name in asked.parts if not _run(name, asked)]
    path = write_suite_report(asked.results, asked.out, list(PARTS))
    print(f"\nreport {path}" if path else "\nno part has a result yet: there is no report")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)} (see the logs in {asked.results})")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peers(parser)
    known = list(PARTS)
    parser.add_argument("--parts", nargs="*", default=known, choices=known, metavar="PART", help=", ".join(known))
    parser.add_argument("--short", action="store_true", help="fewer rounds and smaller shares: a quarter of an hour")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the parts' results are kept")
    parser.add_argument("--out", type=Path, default=REPORTS, help="where the report goes")
    return parser.parse_args()


def _run(name: str, asked: argparse.Namespace) -> bool:
    """Run a part with its output in the log and on the screen; whether it gave a result, which is kept then."""
    part = PARTS[name]
    settings = part.quick if asked.quick else part.short if asked.short else part.settings
    shown = ["-m", f"benchmarks.{part.script}", *settings.split()]
    peers = _peers(asked, part) if part.has_peers else []
    command = [sys.executable, *shown, *peers]
    print(f"\n=== {name}: {' '.join(command[1:])}", flush=True)
    started, began, load = datetime.now(UTC), time.perf_counter(), os.getloadavg()[0]
    lines = []
    with (asked.results / f"{name}.log").open("w", buffering=1) as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            log.write(line)
            if not line.startswith('{"'):
                print(line, end="", flush=True)
    if process.wait() or not lines:
        return False
    kept: dict[str, Any] = {
        "part": name,
        "command": f"python {' '.join(shown)}",
        "peers": [word for word in peers if word.startswith("--")],
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "load_before": load,
        "commit": _commit(),
        "is_quick": asked.quick,
        "result": json.loads(lines[-1]),
    }
    path = asked.results / f"{name}.json"
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(kept, indent=1))
    aside.replace(path)
    return True


def _commit() -> str:
    """The commit that was measured; empty outside a checkout."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _peers(asked: argparse.Namespace, part: Part) -> list[str]:
    names = ("dlrm",) if part.script == "walkthrough" else ("dlrm", "fuxictr", "ctr_python")
    given = {name: getattr(asked, name) for name in names}
    return [word for name, path in given.items() if path for word in (f"--{name.replace('_', '-')}", str(path))]


if __name__ == "__main__":
    main()
