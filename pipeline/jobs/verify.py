"""The verify job: is a prepared dataset what its manifest says?"""

import sys
from pathlib import Path

from tqdm import tqdm

from data.check_config import VerifyConfig
from data.errors import DataError
from data.manifest import Manifest
from data.reading.verifying import verify


def run(config: VerifyConfig) -> int:
    """0 when every part is whole; 1 with one message on stderr when one is not."""
    manifest = Manifest.load(Path(config.directory))
    num_rows = sum(split.num_rows for split in manifest.splits.values())
    try:
        with tqdm(total=num_rows, unit=" rows", unit_scale=True, leave=False, disable=not config.show_progress) as bar:
            num_groups = verify(config.directory, manifest, bar.update)
    except DataError as error:
        print(f"shardline: {' '.join(str(error).split())}", file=sys.stderr)  # Arrow breaks lines of its own
        return 1
    num_parts = sum(len(split.parts) for split in manifest.splits.values())
    print(
        f"{config.directory}: whole. {num_parts:,} parts, {num_groups:,} row groups, {num_rows:,} rows;"
        f" fingerprint {manifest.fingerprint[:12]}"
    )
    return 0
