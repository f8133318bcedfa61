"""dlrm_s_pytorch.py of facebookresearch/dlrm as a contestant: python run_dlrm_s.py CHECKOUT <its own arguments>

It is run as it is. Its own clock is read at the start and at the end of every step, behind the loading of the batch; those two
calls are where it waits for its turns.
"""

import sys
import time

from pacing import Pace


def main() -> None:
    pace, is_step_open = Pace(), False
    sys.path.insert(0, sys.argv[1])
    sys.argv = ["dlrm_s_pytorch.py", *sys.argv[2:]]
    import dlrm_s_pytorch  # pyright: ignore[reportMissingImports]

    def time_wrap(use_gpu: bool) -> float:
        nonlocal is_step_open
        (pace.end if is_step_open else pace.begin)()
        is_step_open = not is_step_open
        return time.time()

    dlrm_s_pytorch.time_wrap = time_wrap
    dlrm_s_pytorch.run()


if __name__ == "__main__":
    main()
