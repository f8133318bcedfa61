"""Whether torch, gloo, FBGEMM and TorchRec work, found out in a child process. Standard library only."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from pipeline.installing.findings import Finding

_NAMES = {"torch": "torch", "gloo": "gloo", "fbgemm": "FBGEMM", "torchrec": "TorchRec"}


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What the probe told before it ended."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each stage that went well has to say."""
    errors: dict[str, str] = field(default_factory=dict)
    """Why a stage did not go well."""


def probe_imports(timeout_s: float, *, python: str = sys.executable) -> ImportResult:
    """Run the probe under `python` and read what it printed; a crash is the error of the stage that it happened in."""
    command = [python, "-m", "pipeline.installing.import_probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        output, end = done.stdout, _end(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        end = f"did not come to an end within {timeout_s:g} s"
    return _read(output, end)


def check_imports(probed: ImportResult, *, python: str, for_cuda: bool) -> list[Finding]:
    """A finding for each stage that failed, and what torch sees of threads and GPUs."""
    findings = [
        Finding(
            subject=_NAMES[stage].lower(),
            severity="fatal",
            text=f"{_NAMES[stage]} does not work: {error}",
            mend=_mend(stage, python, for_cuda),
        )
        for stage, error in probed.errors.items()
    ]
    works = [_NAMES[stage] for stage in probed.results]
    fine = [Finding(subject="imports", text=f"{', '.join(works)} work")] if works else []
    torch = probed.results.get("torch")
    return [*fine, *findings, *(_devices(torch, for_cuda) if torch else [])]


def _end(returncode: int, stderr: str) -> str:
    if returncode == 0:
        return ""
    last = (stderr.strip().splitlines() or ["no message"])[-1]
    if returncode < 0:
        return f"Python was ended by {signal.Signals(-returncode).name} ({last[:200]})"
    return f"Python ended with exit code {returncode} ({last[:200]})"


def _read(output: str, end: str) -> ImportResult:
    results: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    begun = "torch"
    for line in output.splitlines():
        if not line.startswith('{"stage"'):
            continue  # something that a package prints when it is imported
        told = json.loads(line)
        begun = told["stage"]
        if "result" in told:
            results[begun] = told["result"]
        elif "error" in told:
            errors[begun] = _one_line(told["error"])
    if end and begun not in results and begun not in errors:
        errors[begun] = end
    return ImportResult(results=results, errors=errors)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]} ..."


def _mend(stage: str, python: str, for_cuda: bool) -> str:
    if stage == "gloo":
        return (
            f'{python} -c "import socket; print(socket.gethostbyname(socket.gethostname()))"  # must print an address'
        )
    device = "cuda" if for_cuda else "cpu"
    return (
        f"{python} -m pip install --force-reinstall --no-deps -r requirements/{device}.txt -r requirements/torchrec.txt"
    )


def _devices(torch: dict[str, Any], for_cuda: bool) -> list[Finding]:
    if torch["gpus"]:
        text = f"{len(torch['gpus'])} x {torch['gpus'][0]}, CUDA {torch['cuda_build']}, NCCL"
        if torch["nccl"]:
            return [Finding(subject="cuda", text=text)]
        return [Finding(subject="cuda", severity="fatal", text=f"{text} missing", mend="make setup DEVICE=cuda")]
    if not for_cuda:
        return [Finding(subject="cuda", severity="note", text="no NVIDIA GPU in sight: jobs run on the CPU, with gloo")]
    if torch["cuda_build"] is None:
        text = f"torch {torch['version']} is a CPU build, so the GPU stays unused."
        return [Finding(subject="cuda", severity="fatal", text=text, mend="make setup DEVICE=cuda")]
    text = f"torch is built for CUDA {torch['cuda_build']} but sees no GPU: the driver is missing or too old."
    return [Finding(subject="cuda", severity="fatal", text=text, mend="nvidia-smi  # what the driver has to say")]
