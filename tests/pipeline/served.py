"""A service in a process of its own, and clients that may send anything."""

import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.pipeline.job_runs import REPOSITORY, command

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass
class Served:
    """A running service and where it listens."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def post(self, body: bytes, kind: str = JSON, path: str = "/predict") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", path, body, {"content-type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def model(self) -> str:
        status, content = self.get("/health")
        assert status == 200
        return json.loads(content)["model"]

    def reload(self) -> tuple[int, dict[str, str]]:
        status, content = self.post(b"", path="/reload")
        return status, json.loads(content)

    def figure(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1].decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def serving(bundle: Path, log: Path, *settings: str) -> Iterator[Served]:
    """`shardline serve` on a free port of 127.0.0.1, ready to answer."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command("serve", str(bundle), "--port=0", *settings),
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
            text=True,
        )
    try:
        yield Served(process, _port(process, log), log)
    finally:
        process.kill()
        process.wait()


def exchange(port: int, *pieces: bytes, pause_s: float = 0.0, ends: bool = False) -> tuple[int, bytes]:
    """Status and body of the answer to bytes sent as they are; `ends`: the client says that no more will come."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:  # the answer is there already
                break
            time.sleep(pause_s)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def posted(body: bytes, kind: str = JSON, headers: str = "") -> bytes:
    """A whole request."""
    return (
        f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    ).encode() + body


def ipc(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class Load:
    """Clients that send one request after the other over kept connections, until told to stop, refused, or 60 s have gone."""

    def __init__(self, port: int, body: bytes, num_clients: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.lost: list[str] = []
        self._port, self._body = port, body
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(num_clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, num_answers: int) -> None:
        wait_until(lambda: self.statuses.total() >= num_answers)

    def _send(self) -> None:
        end = time.monotonic() + 60
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._stop.is_set() and time.monotonic() < end:
            try:
                connection.request("POST", "/predict", self._body, {"content-type": JSON})
                answer = connection.getresponse()
                answer.read()
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            with self._lock:
                self.statuses[answer.status] += 1


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it did not come so in time"
        time.sleep(0.02)


def _port(process: subprocess.Popen[str], log: Path) -> int:
    def found() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r"on http://127\.0\.0\.1:(\d+)", log.read_text())

    wait_until(lambda: found() is not None, timeout_s=120)
    match = found()
    assert match
    return int(match[1])
