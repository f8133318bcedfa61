"""The service on a socket, until SIGTERM or Ctrl-C; SIGHUP reloads."""

import asyncio
import ipaddress
import logging
import signal
import socket
from contextlib import suppress

import uvicorn

from data.errors import ConfigError
from pipeline.serve_config import ServeConfig
from pipeline.serving.guarded_protocol import guarded_protocol
from pipeline.serving.refusals import Refusal
from pipeline.serving.service import Service

logger = logging.getLogger(__name__)


def bound_socket(config: ServeConfig) -> socket.socket:
    """A socket that has its address but does not listen yet; ConfigError where the address cannot be had."""
    where = f"{config.host}:{config.port}"
    try:
        family, kind, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {where}: {error.strerror}. Choose another --port, or another --host."
        ) from error
    return bound


def run_until_stopped(service: Service, bound: socket.socket) -> None:
    """Answer until asked to stop; then refuse what is new, and end when all that was accepted has its answer."""
    server = uvicorn.Server(_settings(service))
    service.is_ending = lambda: server.should_exit

    def stop(signum: int, frame: object) -> None:
        server.should_exit = True

    # uvicorn takes these signals over while it runs, and raises them once more at its end.
    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_serve(server, service, bound))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


async def _serve(server: uvicorn.Server, service: Service, bound: socket.socket) -> None:
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(service))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    host, port, *_ = bound.getsockname()
    name = f"[{host}]" if ":" in host else host
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        logger.warning("The network can reach %s: there is no encryption and no log-in here.", host)
    logger.info("Serving %s (%s) on http://%s:%d", service.model.directory, service.model.name, name, port)
    await server.serve(sockets=[bound])


async def _reload(service: Service) -> None:
    with suppress(Refusal):  # it is in the log
        await service.reload()


def _settings(service: Service) -> uvicorn.Config:
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = service.config
    return uvicorn.Config(
        service.app(),
        http=guarded_protocol(config, service.figures),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(config.idle_timeout_s)),
        timeout_graceful_shutdown=max(1, round(config.stop_timeout_s)),
    )
