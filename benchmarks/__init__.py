"""What Shardline costs and gains, measured by scripts: `python -m benchmarks.<name> --help` says what and how."""

import pipeline  # noqa: F401  sets how torch takes memory, as in a job, which must come before the first tensor
