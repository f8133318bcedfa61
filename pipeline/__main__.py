"""`python -m pipeline <job> ...`: the same as the console script `shardline`, in the form that torchrun starts."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
