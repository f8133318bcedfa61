"""torchrec_dlrm of facebookresearch/dlrm as a contestant: python run_torchrec_dlrm.py CHECKOUT <its own arguments>

It is run as it is, on one rank; a step is a call of its train pipeline's `progress`.
"""

import os
import sys
from pathlib import Path
from typing import Any

from pacing import Pace

ONE_RANK = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def main() -> None:
    pace = Pace()
    os.environ.update(ONE_RANK, MASTER_PORT=os.environ.get("MASTER_PORT", "29577"))
    sys.path.insert(0, str(Path(sys.argv[1]) / "torchrec_dlrm"))
    import dlrm_main  # pyright: ignore[reportMissingImports]

    class PacedPipeline(dlrm_main.TrainPipelineSparseDist):
        def progress(self, dataloader_iter: Any) -> Any:
            pace.begin()
            found = super().progress(dataloader_iter)
            pace.end()
            return found

    dlrm_main.TrainPipelineSparseDist = PacedPipeline
    dlrm_main.main(sys.argv[2:])


if __name__ == "__main__":
    main()
