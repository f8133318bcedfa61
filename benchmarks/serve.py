"""What `shardline serve` carries on this machine: python -m benchmarks.serve BUNDLE [--parts load,overload,memory,changes]

Every part starts a service on a free port of 127.0.0.1 and sends it requests of generated rows, bounded in number and time:

load      1, 8 and 64 connections, one row a request: requests/s and latency (wrk's where it is installed)
overload  a queue of 64 rows and 64 connections that send 16 rows each: what is refused, and that nothing else happens
memory    100,000 requests: resident memory after the first tenth and at the end
changes   reloads of the bundle, then SIGTERM, under load: what was lost

The client and the service share the cores. The last line is the result as one line of JSON; the exit code says whether all held.
"""

import argparse
import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.inference.bundle import open_bundle
from pipeline.serving.raw_columns import RawColumn, raw_columns

CONNECTIONS = (1, 8, 64)
MOST_SECONDS = 200.0
ACCEPTED_GROWTH_MIB = 16.0
PARTS = ("load", "overload", "memory", "changes")


def main() -> int:
    arguments = parse_arguments()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts.split(","):
            figures[part] = globals()[f"measure_{part}"](arguments, Path(folder))
    is_ok = all(figure["ok"] for figure in figures.values())
    print(json.dumps({"benchmark": "serve", "ok": is_ok, **figures}))
    return 0 if is_ok else 1


def measure_load(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {"client": "wrk" if shutil.which("wrk") else "asyncio", "rows": arguments.rows}
    body = body_of(arguments.bundle, arguments.rows)
    with serving(arguments.bundle, folder, *arguments.settings) as service:
        run_clients(service.port, body, 16, num_requests=500)
        for connections in CONNECTIONS:
            figure = by_wrk(service.port, body, connections, arguments.seconds, folder) or by_client(
                service.port, body, connections, arguments.seconds
            )
            figures[str(connections)] = figure
            print(f"{connections:>3} connections  {describe(figure)}", flush=True)
    return {**figures, "ok": all(figures[str(each)]["errors"] == 0 for each in CONNECTIONS)}


def measure_overload(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    limits = ["--max_request_rows=16", "--max_batch_rows=16", "--max_queue_rows=64"]
    with serving(arguments.bundle, folder, *limits) as service:
        load = run_clients(service.port, body_of(arguments.bundle, 16), 64, seconds=arguments.seconds)
        rss = service.rss_mib()
    figure = {"statuses": dict(load.statuses), "lost": len(load.lost), "rss_mib": rss}
    print(f"overload         {figure}", flush=True)
    return {**figure, "ok": set(load.statuses) == {200, 429} and not load.lost}


def measure_memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    body, tenth = body_of(arguments.bundle, arguments.rows), arguments.requests // 10
    statuses: Counter[int] = Counter()
    rss: list[float] = []
    with serving(arguments.bundle, folder, *arguments.settings) as service:
        for _ in range(10):
            load = run_clients(service.port, body, 64, num_requests=tenth)
            statuses.update(load.statuses)
            rss.append(service.rss_mib())
            print(f"memory           {statuses.total():>7,} answers, {rss[-1]:.1f} MiB resident", flush=True)
    is_flat = rss[-1] - rss[0] <= ACCEPTED_GROWTH_MIB
    is_whole = set(statuses) == {200} and statuses.total() == 10 * tenth
    return {"statuses": dict(statuses), "rss_mib": rss, "ok": is_flat and is_whole}


def measure_changes(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    body, log = body_of(arguments.bundle, arguments.rows), folder / "serve.log"
    with serving(arguments.bundle, folder, *arguments.settings) as service:
        load, reloads = asyncio.run(under_load(service, body))
        code = service.process.wait(timeout=60)
    told = re.search(r"answers to /predict: ([\d,]+) x 200;", log.read_text())
    answered = int(told[1].replace(",", "")) if told else 0
    figure = {
        "reloads": reloads,
        "exit_code": code,
        "statuses": dict(load.statuses),
        "lost": len(load.lost),
        "answered": answered,
    }
    print(f"changes          {figure}", flush=True)
    is_whole = set(load.statuses) == {200} and answered == load.statuses[200] and not load.lost
    return {**figure, "ok": is_whole and code == 0 and reloads > 0}


async def under_load(service: "Service", body: bytes) -> tuple["Load", int]:
    """64 clients while the bundle is reloaded five times, and on until SIGTERM has turned all of them away."""
    load = Load(body)
    clients = asyncio.gather(*(load.client(service.port) for _ in range(64)))
    reloads = 0
    for _ in range(5):
        await asyncio.sleep(0.5)
        request = urllib.request.Request(f"http://127.0.0.1:{service.port}/reload", method="POST")
        with await asyncio.to_thread(urllib.request.urlopen, request, timeout=60) as answer:
            reloads += answer.status == 200
    await asyncio.sleep(0.5)
    service.process.send_signal(signal.SIGTERM)
    await clients
    return load, reloads


@dataclass
class Load:
    """Clients on kept connections, and what became of their requests; they end with their time, their number, or the service."""

    body: bytes
    seconds: float = MOST_SECONDS
    num_requests: float = float("inf")
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    _sent: int = 0

    async def client(self, port: int) -> None:
        end = time.monotonic() + min(self.seconds, MOST_SECONDS)
        request = request_of(self.body)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while time.monotonic() < end and self._sent < self.num_requests:
                self._sent += 1
                begun = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))  # pyright: ignore[reportOptionalSubscript]
                self.latencies.append(time.perf_counter() - begun)
                self.statuses[int(head[9:12])] += 1
                if b"connection: close" in head:
                    writer.close()
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        except ConnectionRefusedError:
            return
        except (OSError, asyncio.IncompleteReadError) as error:
            self.lost.append(repr(error))


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[str]
    port: int

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return round(int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) / 1024, 1)


@contextmanager
def serving(bundle: str, folder: Path, *settings: str) -> Iterator[Service]:
    log = folder / "serve.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "pipeline", "serve", bundle, "--port=0", *settings]
        process = subprocess.Popen(command, stdout=output, stderr=output, text=True)
    try:
        yield Service(process, port_of(process, log))
    finally:
        process.kill()
        process.wait()


def port_of(process: subprocess.Popen[str], log: Path) -> int:
    for _ in range(1200):
        if found := re.search(r"on http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"The service did not start:\n{log.read_text()}")


def run_clients(port: int, body: bytes, connections: int, **bounds: Any) -> Load:
    async def run() -> Load:
        load = Load(body, **bounds)
        await asyncio.gather(*(load.client(port) for _ in range(connections)))
        return load

    return asyncio.run(run())


def by_client(port: int, body: bytes, connections: int, seconds: float) -> dict[str, Any]:
    load = run_clients(port, body, connections, seconds=seconds)
    p50, p99 = (round(1e3 * float(np.percentile(load.latencies, each)), 2) for each in (50, 99))
    errors = len(load.lost) + sum(number for status, number in load.statuses.items() if status != 200)
    return {"requests_per_s": round(load.statuses.total() / seconds), "p50_ms": p50, "p99_ms": p99, "errors": errors}


def by_wrk(port: int, body: bytes, connections: int, seconds: float, folder: Path) -> dict[str, Any] | None:
    """The figures of wrk; none where it is not installed."""
    if not shutil.which("wrk"):
        return None
    script = folder / "post.lua"
    (folder / "body.json").write_bytes(body)
    script.write_text(
        f'local file = io.open("{folder / "body.json"}", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*a")\n'
        'wrk.headers["content-type"] = "application/json"\n'
        "function done(summary, latency, requests)\n"
        "  local e = summary.errors\n"
        "  io.write(string.format('RESULT %d %d %f %f %d\\n', summary.requests, summary.duration, latency:percentile(50),"
        " latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))\nend\n"
    )
    url = f"http://127.0.0.1:{port}/predict"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    requests, micros, p50, p99, errors = map(float, re.findall(r"RESULT (.*)", told)[0].split())
    per_s = round(requests / micros * 1e6)
    return {
        "requests_per_s": per_s,
        "p50_ms": round(p50 / 1e3, 2),
        "p99_ms": round(p99 / 1e3, 2),
        "errors": int(errors),
    }


def describe(figure: dict[str, Any]) -> str:
    latency = f"p50 {figure['p50_ms']:.2f} ms  p99 {figure['p99_ms']:.2f} ms"
    return f"{figure['requests_per_s']:>7,} requests/s  {latency}  {figure['errors']} errors"


def request_of(body: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def body_of(bundle: str, num_rows: int) -> bytes:
    """A request of rows with a value in every column that the model reads."""
    parts = open_bundle(Path(bundle)).parts()
    types = {each.column: each.type for each in (*parts.fitted.spec.dense, *parts.fitted.spec.sparse)}
    generator = np.random.default_rng(0)
    columns = raw_columns(parts.fitted.spec).read
    rows = [{each.name: value_of(each, types.get(each.name), generator) for each in columns} for _ in range(num_rows)]
    return json.dumps({"rows": rows}).encode()


def value_of(column: RawColumn, kind: str | None, generator: np.random.Generator) -> Any:
    number = int(generator.integers(0, 1000))
    if column.is_list:
        return None
    return (
        f"{number * 2_654_435_761 % 2**32:08x}" if kind == "hex" else str(number) if column.kind == "text" else number
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a bundle that `shardline export` wrote")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--requests", type=int, default=100_000, help="for the memory")
    parser.add_argument("--rows", type=int, default=1, help="of each request")
    parser.add_argument("settings", nargs="*", help="settings of the service, behind --, such as --max_wait_ms=1")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
