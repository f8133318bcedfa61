"""Shardline as a contestant: `shardline train` as it is, its batches let through in turns.

    python -m benchmarks.contestants.run_shardline --batches 10 <settings of shardline train>

`--batches N`: N batches are read once and used over and over, as torchrec_dlrm does with random data (loading excluded); 0:
every batch comes from the job's own reader.
"""

import argparse
import gc
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants.pacing import Pace
from benchmarks.live_job import train_config
from pipeline.jobs import train
from pipeline.measuring.live_plan import fresh
from pipeline.sources import Source, open_source

ENDLESS = 1_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=0)
    asked, settings = parser.parse_known_args()
    gc.freeze()  # what was imported stays, and is not searched for garbage: as the command line does it
    pace, config = Pace(), train_config(settings)

    def paced(*args: Any) -> Source:
        source = open_source(*args)
        inner = source.train_batches

        def train_batches(*args: Any) -> "PacedBatches":
            return PacedBatches(inner(*args), pace, asked.batches)

        object.__setattr__(source, "train_batches", train_batches)
        return source

    train.open_source = paced
    train.run(config)


@dataclass
class PacedBatches:
    """Batches without end; from one being asked for to the next is a step."""

    batches: Any
    pace: Pace
    num_cycled: int
    steps_per_epoch: int = ENDLESS
    num_steps: int = ENDLESS

    def __iter__(self) -> Iterator[Any]:
        if self.num_cycled:
            kept = list(itertools.islice(self.batches, self.num_cycled))
            endless = (fresh(batch) for batch in itertools.cycle(kept))
        else:
            endless = itertools.chain.from_iterable(itertools.repeat(self.batches))
        for batch in endless:
            self.pace.begin()
            yield batch
            self.pace.end()


if __name__ == "__main__":
    main()
