"""Serving: raw rows over HTTP in, probabilities out, until SIGTERM."""

import signal

import torch

from pipeline.serve_config import ServeConfig
from pipeline.serving.server import bound_socket, run_until_stopped
from pipeline.serving.service import Service, load


def run(config: ServeConfig) -> int:
    """Answer until asked to stop; 0 when every request that was accepted has its answer."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing to reload yet
    with bound_socket(config) as bound:
        torch.set_num_threads(config.threads)
        service = Service(config, load(config))
        run_until_stopped(service, bound)
    print(service.figures.account())
    return 0
