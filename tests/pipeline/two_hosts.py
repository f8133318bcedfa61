"""Two hosts as namespaces of this machine: each has a name, an address and processes of its own, and a link to the other.

A host is a first process in new namespaces, which the kernel ends when the process that started it is gone, however it
went; with it go all processes of the host, its devices and the namespaces. Ranks are started in it by
`docs/cluster/torchrun.sh`, as a user starts them on two machines.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pipeline.job_runs import REPOSITORY

# torchrun numbers hosts by address: the host that is lost has rank 0, the harder case.
ADDRESSES = {"a": "10.77.41.2", "b": "10.77.41.1"}
RENDEZVOUS = "last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3,join_timeout=60,read_timeout=20"
_FIRST_PROCESS = "setpriv --pdeathsig KILL unshare --net --uts --mount --pid --fork --kill-child --mount-proc sh -c"
_TOOLS = ("ip", "setpriv", "unshare", "nsenter", "hostname")


class TwoHosts:
    """Hosts `a`, where torchruns meet, and `b`."""

    def __init__(self) -> None:
        self._first: dict[str, subprocess.Popen] = {}
        self._inside: dict[str, str] = {}
        self._jobs: list[subprocess.Popen] = []

    def make(self) -> str:
        """Why it cannot be made, or nothing."""
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            return f"there is no `{missing[0]}`"
        for host in ADDRESSES:
            problem = self._begin(host)
            if problem:
                return problem
        link = f"link add veth0 netns {self._inside['a']} type veth peer name veth0 netns {self._inside['b']}"
        problem = _problem_of(["ip", *link.split()])
        for host, address in ADDRESSES.items():
            for command in (f"addr add {address}/24 dev veth0", "link set veth0 up", "link set lo up"):
                problem = problem or _problem_of([*self._enter(host, "--net"), "ip", *command.split()])
        return problem

    def remove(self) -> None:
        for host in self._first:
            self.kill(host)
        for job in self._jobs:
            job.wait()

    def set_link(self, *, up: bool) -> None:
        change = ["ip", "link", "set", "veth0", "up" if up else "down"]
        subprocess.run([*self._enter("b", "--net"), *change], check=True)

    def train(self, host: str, settings: list[str], said: Path) -> subprocess.Popen:
        """The one rank of a host; what it and torchrun say is added to the file `said`."""
        environment = {
            **os.environ,
            "HEAD": ADDRESSES["a"],
            "LOCAL_ADDR": ADDRESSES[host],
            "RDZV_CONF": RENDEZVOUS,
            "TORCHRUN": f"{sys.executable} -m torch.distributed.run --monitor-interval 0.2",
            "PAUSE_S": "1",
            "GLOO_SOCKET_IFNAME": "veth0",
            "OMP_NUM_THREADS": "1",
        }
        inside = self._enter(host, "--net", "--uts", "--mount", "--pid", f"--wd={REPOSITORY}")
        with said.open("a") as output:
            job = subprocess.Popen(
                [*inside, "docs/cluster/torchrun.sh", *settings], env=environment, stdout=output, stderr=output
            )
        self._jobs.append(job)
        return job

    def kill(self, host: str) -> None:
        """End all processes of a host at once, as a loss of power does."""
        self._first[host].kill()
        self._first[host].wait()

    def _begin(self, host: str) -> str:
        """Start a host's first process; why it does not start, or nothing."""
        inside = f"hostname host-{host} && echo ready && exec sleep infinity"
        first = subprocess.Popen([*_FIRST_PROCESS.split(), inside], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._first[host] = first
        assert first.stdout is not None
        said = first.stdout.readline().decode().strip()
        if said == "ready":
            self._inside[host] = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()[0]
        return "" if said == "ready" else said or "its first process ended"

    def _enter(self, host: str, *what: str) -> list[str]:
        return ["nsenter", f"--target={self._inside[host]}", *what]


@contextmanager
def two_hosts() -> Iterator[tuple[TwoHosts, str]]:
    """The hosts, and why they cannot be had here (nothing where they can)."""
    hosts = TwoHosts()
    try:
        yield hosts, hosts.make()
    finally:
        hosts.remove()


def _problem_of(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return f"`{' '.join(command)}`: {done.stderr.strip()}" if done.returncode else ""
