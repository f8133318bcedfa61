"""The recipes for several hosts: they parse, name what exists, and start again what may be started again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import build_parser
from tests.pipeline.job_runs import REPOSITORY

RECIPES = REPOSITORY / "docs" / "cluster"
SCRIPTS = ("torchrun.sh", "slurm.sbatch")
STARTS_AT_FIRST = 'starts=$(cat starts 2>/dev/null || echo 0); echo $((starts + 1)) > starts; echo "$@" > arguments; '
MISTAKE = """
while [[ $1 != --log-dir ]]; do shift; done
mkdir -p "$2/run/attempt_0/0"
echo user_mistake > "$2/run/attempt_0/0/error.json"
exit 1
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_clean_and_can_be_started(name: str):
    script = str(RECIPES / name)
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""
    assert os.access(script, os.X_OK)
    shellcheck = shutil.which("shellcheck") or Path(sys.executable).with_name("shellcheck")
    assert subprocess.run([shellcheck, script], capture_output=True, text=True).stdout == ""


def stub(folder: Path, name: str, body: str) -> str:
    """A command in the place of one that is not here; it counts its starts and keeps its arguments."""
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\ncd '{folder}'\n{STARTS_AT_FIRST}\n{body}\n")
    path.chmod(0o755)
    return str(path)


def start(script: str, folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    settings = {"HEAD": "10.0.0.1", "PAUSE_S": "0", "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    return subprocess.Popen([RECIPES / script, *arguments], env={**os.environ, **settings}, stderr=subprocess.DEVNULL)


def starts_of(folder: Path) -> int:
    return int((folder / "starts").read_text())


@pytest.mark.parametrize(
    ("body", "code", "num_starts"),
    [("exit 0", 0, 1), ("[[ $starts -ge 2 ]]", 0, 3), ("exit 1", 1, 4), (MISTAKE, 2, 1)],
    ids=["done", "fails twice", "fails always", "a mistake of the user"],
)
def test_torchrun_is_started_again_unless_the_run_is_done_or_mistaken(
    tmp_path: Path, body: str, code: int, num_starts: int
):
    torchrun = stub(tmp_path, "torchrun", body)
    job = start("torchrun.sh", tmp_path, "--name", "demo", TORCHRUN=torchrun, ATTEMPTS="4", LOCAL_ADDR="10.0.0.1")
    assert job.wait(timeout=30) == code
    assert starts_of(tmp_path) == num_starts
    arguments = (tmp_path / "arguments").read_text()
    assert "--nnodes 1:2" in arguments
    assert "--rdzv-endpoint 10.0.0.1:29400 --local-addr 10.0.0.1 --rdzv-conf is_host=1" in arguments
    assert "-m pipeline train --resume auto --checkpoint.every_steps 500 --training.timeout_s 300" in arguments
    assert arguments.endswith("--name demo\n")


def test_sigterm_reaches_torchrun_which_may_save_before_the_script_ends(tmp_path: Path):
    torchrun = stub(
        tmp_path, "torchrun", "trap 'sleep 0.5; echo yes > saved; exit 1' TERM; while true; do sleep 0.1; done"
    )
    job = start("torchrun.sh", tmp_path, TORCHRUN=torchrun)
    deadline = time.monotonic() + 20
    while not (tmp_path / "arguments").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)  # for its trap
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 1
    assert (tmp_path / "saved").exists()
    assert starts_of(tmp_path) == 1


@pytest.mark.parametrize(
    ("code", "num_requeues", "is_queued"),
    [(0, "0", False), (1, "0", True), (143, "3", True), (2, "0", False), (1, "50", False)],
)
def test_a_slurm_job_is_queued_again_unless_done_mistaken_or_tired(
    tmp_path: Path, code: int, num_requeues: str, is_queued: bool
):
    stub(tmp_path, "srun", f'echo "$HEAD $NNODES $PORT $RUN_ID" > meeting; exit {code}')
    stub(tmp_path, "scontrol", '[[ $1 == show ]] && echo node7; [[ $1 == requeue ]] && echo "$2" > requeued; exit 0')
    slurm = {"SLURM_JOB_ID": "41234", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[7-8]"}
    job = start("slurm.sbatch", tmp_path, "--name", "demo", SLURM_RESTART_COUNT=num_requeues, **slurm)
    assert job.wait(timeout=30) == code
    assert (tmp_path / "meeting").read_text() == "node7 1:2 21234 41234\n"
    assert (tmp_path / "requeued").exists() is is_queued


@pytest.fixture
def documents() -> dict[str, Any]:
    found = yaml.safe_load_all((RECIPES / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in found}


FIELDS = """
apiVersion kind metadata spec name labels app selector
clusterIP publishNotReadyAddresses
completionMode completions parallelism backoffLimit successPolicy rules succeededIndexes template
subdomain restartPolicy terminationGracePeriodSeconds containers volumes
image workingDir command args env value resources requests cpu memory volumeMounts mountPath
persistentVolumeClaim claimName emptyDir medium sizeLimit
"""  # of Service, Job, pod, container, volume: names of Kubernetes' schema; it refuses others, or worse, ignores them


def test_kubernetes_knows_every_field(documents: dict[str, Any]):
    assert set(_keys(list(documents.values()))) == set(FIELDS.split())


def test_the_pods_find_each_other_and_their_volumes(documents: dict[str, Any]):
    service, job = documents["Service"], documents["Job"]
    pod, (container,) = job["spec"]["template"]["spec"], job["spec"]["template"]["spec"]["containers"]
    settings = {entry["name"]: entry["value"] for entry in container["env"]}
    assert service["spec"]["selector"] == job["spec"]["template"]["metadata"]["labels"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert settings["HEAD"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert settings["NNODES"] == f"1:{job['spec']['completions']}"
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    assert settings["SHARED"] in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_container_starts_a_script_that_is_there_with_settings_that_exist(documents: dict[str, Any]):
    (container,) = documents["Job"]["spec"]["template"]["spec"]["containers"]
    script = (REPOSITORY / container["command"][0]).read_text()
    for entry in container["env"]:
        assert entry["name"] in script or f"$({entry['name']})" in " ".join(container["args"])
    chosen = build_parser(only="train").parse_args(["train", *container["args"]])
    assert chosen.train.runs_dir == "$(SHARED)/runs"


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [key for name, inner in value.items() for key in (name, *_keys(inner))]
    return [key for inner in value for key in _keys(inner)] if isinstance(value, list) else []
