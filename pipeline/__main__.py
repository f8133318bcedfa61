"""`python -m pipeline <job> ...`: the same as the console script `shardline`, in the form that torchrun starts."""

from typing import NoReturn

from pipeline.cli import main
from pipeline.leaving import run_and_leave


def run() -> NoReturn:
    """Run the job that the command line names, and end this process with its exit code."""
    run_and_leave(main)


if __name__ == "__main__":
    run()
