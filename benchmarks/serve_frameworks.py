"""Which library should carry the service? The same answer by LitServe, FastAPI and Starlette.

    python3 -m venv /tmp/frameworks
    /tmp/frameworks/bin/pip install litserve==0.2.19 orjson==3.13.0   # brings FastAPI, Starlette and uvicorn along
    python -m benchmarks.serve_frameworks --python /tmp/frameworks/bin/python

Each takes a row of 39 columns as JSON and answers with a constant, so that what is measured is the library alone; LitServe makes
batches of up to 64 with a wait of 1 ms, as its settings offer. Rounds are interleaved; the median counts. Last line: JSON.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serve import by_client, by_wrk, run_clients

APPS = {
    "litserve": """
import sys, litserve
class Constant(litserve.LitAPI):
    def setup(self, device): pass
    def decode_request(self, request): return request["rows"]
    def batch(self, inputs): return inputs
    def predict(self, inputs): return [[0.5] * len(rows) for rows in inputs]
    def unbatch(self, outputs): return outputs
    def encode_response(self, output): return {"probabilities": output}
if __name__ == "__main__":
    server = litserve.LitServer(Constant(max_batch_size=64, batch_timeout=0.001), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
""",
    "fastapi": """
import sys, fastapi, pydantic, uvicorn
class Rows(pydantic.BaseModel):
    rows: list[dict[str, int | str | None]]
app = fastapi.FastAPI()
@app.post("/predict")
async def predict(rows: Rows): return {"probabilities": [0.5] * len(rows.rows)}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
""",
    "starlette": """
import sys, orjson, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def predict(request):
    rows = orjson.loads(await request.body())["rows"]
    return Response(orjson.dumps({"probabilities": [0.5] * len(rows)}), media_type="application/json")
app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
""",
}
CONNECTIONS = (1, 64)
COLUMNS = {f"I{i}": i for i in range(1, 14)} | {f"C{i}": f"{i * 99991:08x}" for i in range(1, 27)}


def main() -> None:
    arguments = parse_arguments()
    rates: dict[str, dict[int, list[int]]] = {name: {each: [] for each in CONNECTIONS} for name in APPS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for name in APPS:
                measure(name, rates[name], arguments, Path(folder))
    medians = {
        name: {each: round(statistics.median(found[each])) for each in CONNECTIONS} for name, found in rates.items()
    }
    for name, found in medians.items():
        print(f"{name:<10} " + "  ".join(f"{each} connections {rate:>6,} requests/s" for each, rate in found.items()))
    print(json.dumps({"benchmark": "serve_frameworks", "requests_per_s": medians}))


def measure(name: str, rates: dict[int, list[int]], arguments: argparse.Namespace, folder: Path) -> None:
    body = json.dumps({"rows": [COLUMNS]}).encode()
    with running(name, arguments.python, folder) as port:
        run_clients(port, body, 8, num_requests=300)
        for connections in CONNECTIONS:
            bounds = (port, body, connections, arguments.seconds)
            figure = by_wrk(*bounds, folder) or by_client(*bounds)
            rates[connections].append(figure["requests_per_s"])
            print(f"{name:<10} {connections:>2} connections {figure}", flush=True)


@contextmanager
def running(name: str, python: str, folder: Path) -> Iterator[int]:
    """The port of a server in a process group of its own: LitServe starts several processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = folder / f"{name}_app.py"
    script.write_text(APPS[name])
    process = subprocess.Popen([python, str(script), str(port)], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("The server did not start; is everything installed in the interpreter that --python names?")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="an interpreter that has the libraries")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
