"""What Shardline costs and gains, measured by scripts: `python -m benchmarks.<name> --help` says what and how."""

import os

ENVIRONMENT = dict(os.environ)
"""As it was found, for peers: importing `pipeline` sets how torch takes memory, as in a job, before the first tensor."""

import pipeline  # noqa: E402, F401
