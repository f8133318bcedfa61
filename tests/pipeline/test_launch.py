"""Which of several failed ranks the launcher names as the cause."""

import signal

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from pipeline.launch import EXIT_LOST_PEER, EXIT_USER_MISTAKE, _explain


@pytest.mark.parametrize(
    ("exit_codes", "code", "said"),
    [
        ((EXIT_LOST_PEER, -signal.SIGKILL), 1, "rank 1 was killed by SIGKILL"),
        ((EXIT_LOST_PEER, 1, -signal.SIGTERM), 1, "rank 1 failed (exit code 1)"),
        ((EXIT_LOST_PEER, -signal.SIGTERM), 1, "rank 1 was killed by SIGTERM"),
        ((1, EXIT_LOST_PEER, EXIT_USER_MISTAKE), 2, "shardline: "),
        ((-signal.SIGTERM, -signal.SIGTERM), 0, "stopped by SIGTERM"),
    ],
)
def test_the_rank_is_named_that_the_others_ended_because_of(
    exit_codes: tuple[int, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    failures = {
        rank: ProcessFailure(local_rank=rank, pid=1, exitcode=exit_code, error_file="<N/A>")
        for rank, exit_code in enumerate(exit_codes)
    }
    assert _explain(ChildFailedError("job", failures)) == code
    assert said in capsys.readouterr().err
