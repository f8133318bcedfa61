"""Settings of the HTTP service. Light: imports nothing heavy."""

from dataclasses import dataclass

from data.errors import ConfigError
from pipeline.inference_config import Runtime


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Answer over HTTP: raw rows in, probabilities out, through the transforms and id maps of a bundle."""

    bundle: str
    """A bundle; or a symbolic link to one, which can point to another before a reload (SIGHUP, POST /reload)."""
    host: str = "127.0.0.1"
    """Address to listen on. Others than loopback let the network in: there is no encryption and no log-in here."""
    port: int = 8000
    """Port to listen on; 0: any that is free (the first line of the log names it)."""
    runtime: Runtime = "eager"
    """What computes: the model itself, or a program of the bundle."""
    threads: int = 1
    """CPU threads that the model computes with."""
    max_batch_rows: int = 1024
    """Most rows that are scored together; a larger request is scored alone."""
    max_wait_ms: float = 0.0
    """How long a batch waits for more rows. 0: it takes those that came while the batch before it was scored."""
    max_request_rows: int = 4096
    """Most rows of one request; more are refused (413)."""
    max_request_kib: int = 4096
    """Most KiB of one request, as sent and as unpacked; more are refused (413)."""
    max_queue_rows: int = 16_384
    """Rows that may wait to be scored; what comes on top is refused (429), to be sent again."""
    max_queue_mib: int = 256
    """MiB of requests that may be held at a time, arriving or waiting; what comes on top is refused (429)."""
    max_connections: int = 1024
    """Connections at a time; further ones are refused (429)."""
    receive_timeout_s: float = 10.0
    """Seconds that a client may take to send its headers, and again its body; slower ones are refused (408)."""
    answer_timeout_s: float = 10.0
    """Seconds from the last byte of a request to its answer; what waits for longer is given up (503)."""
    idle_timeout_s: float = 60.0
    """Seconds after which a connection without requests is closed."""
    stop_timeout_s: float = 30.0
    """Seconds that accepted requests are given to end after SIGTERM."""

    def __post_init__(self) -> None:
        for name in ("threads", "max_batch_rows", "max_request_rows", "max_request_kib", "max_queue_mib"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("receive_timeout_s", "answer_timeout_s", "idle_timeout_s", "stop_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port is {self.port}; expected 0 (any free port) to 65535.")
        if not 0 <= self.max_wait_ms <= 1000:
            raise ConfigError(f"max_wait_ms is {self.max_wait_ms}; expected milliseconds from 0 to 1000.")
        if self.max_connections < 1:
            raise ConfigError(f"max_connections is {self.max_connections}; it must be at least 1.")
        if self.max_queue_rows < self.max_request_rows:
            raise ConfigError(
                f"max_queue_rows is {self.max_queue_rows}, max_request_rows {self.max_request_rows}: the largest request would"
                " never find room. Raise the one or lower the other."
            )
        if self.max_queue_mib << 10 < self.max_request_kib:
            raise ConfigError(
                f"max_queue_mib is {self.max_queue_mib}, less than the {self.max_request_kib} KiB of max_request_kib: the largest"
                " request would never find room. Raise the one or lower the other."
            )
