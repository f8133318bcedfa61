"""Ranks for benchmarks: forked from this process, so that torch is imported once."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any


def on_ranks(num_ranks: int, function: Callable[..., Any], *args: Any) -> Any:
    """What `function(ranks, *args)` returns on rank 0 of a gloo group of so many processes, one thread each."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "store"
        processes = [
            context.Process(target=_be_rank, args=(rank, num_ranks, store, function, args, sending))
            for rank in range(num_ranks)
        ]
        for process in processes:
            process.start()
        sending.close()
        try:
            return receiving.recv()
        finally:
            for process in processes:
                process.join(30)


def _be_rank(
    rank: int, num_ranks: int, store: Path, function: Callable[..., Any], args: tuple[Any, ...], sending: Any
) -> None:
    import torch
    import torch.distributed as dist

    from pipeline.logs import set_up_logging
    from pipeline.ranks import Ranks

    set_up_logging(is_quiet_rank=True)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(num_ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(num_ranks))
    torch.set_num_threads(1)
    timeout = timedelta(seconds=300)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=num_ranks, timeout=timeout)
    ranks = Ranks(rank=rank, num_ranks=num_ranks, local_num_ranks=num_ranks, device=torch.device("cpu"))
    found = function(ranks, *args)
    if rank == 0:
        sending.send(found)
    dist.barrier()
    os._exit(0)
