import threading

import torch.distributed as dist

from pipeline.training.heartbeat import Heartbeat


def test_nothing_of_a_stopped_heartbeat_lives_on():
    # A thread inside the store's C++ code at the end of the interpreter ends the process with SIGABRT.
    beating = Heartbeat(rank=0, num_ranks=2, store=dist.HashStore())  # pyright: ignore[reportPrivateImportUsage]
    beating.start()
    assert "heartbeat" in {thread.name for thread in threading.enumerate()}
    beating.stop()
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
