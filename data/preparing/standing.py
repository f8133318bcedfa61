"""How far a pass over the raw files is, as the workplace notes it, and whether what the note names is still there."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.manifest import sha256_of_file
from data.preparing.count_runs import RunFolder
from data.preparing.parts import Finished
from data.preparing.tallies import Tally
from data.raw.bad_lines import BadLines, BlockAccount
from data.storage import change_mark
from data.truth import truth_path_of

logger = logging.getLogger(__name__)


@dataclass
class Standing:
    """All blocks before `next_block` are in the account and the tally. `finished`: the whole parts of each split, if writing."""

    bad: BadLines
    tally: Tally
    next_block: int = 0
    finished: list[Finished] = field(default_factory=list)

    def add(self, block: int, account: BlockAccount, tally: Any) -> None:
        """Take the block after the last one into account."""
        self.bad.add(account)
        self.tally.add(tally)
        self.next_block = block + 1


def whole_counts_of(noted: Tally | None, folder: RunFolder, memory_bytes: int) -> Tally | None:
    """The noted tally, if every file of counts that it names is there with its bytes; none otherwise.

    Other files in the folder go: a run that was killed had not noted them yet, so their blocks are counted again.
    """
    runs = noted.runs() if noted else []
    if not folder.keep(runs):
        logger.warning("Counts of ids were altered since they were written: doing that pass again.")
        folder.keep([])
        return None
    if noted:
        noted.attach(folder, memory_bytes)
    return noted


def whole_parts_of(noted: Standing | None, directory: Path) -> Standing | None:
    """The note, if every part that it names is there with the bytes that it says; none otherwise."""
    if noted is None:
        return None
    parts = [part for finished in noted.finished for part in finished.parts]
    try:
        altered = [part.path for part in parts if sha256_of_file(directory / part.path) != part.sha256]
    except DataError as error:
        logger.warning("%s Writing all parts again.", error)
        return None
    if altered:
        logger.warning("%s was altered since it was written: writing all parts again.", directory / altered[0])
        return None
    logger.info("%d finished parts are intact and kept", len(parts))
    return noted


def source_marks(files: list[Path]) -> list[tuple[str, int, int | str]]:
    """Name, size and mark of change of every raw file, and of the probabilities beside it: enough to see that one changed."""
    beside = [truth_path_of(file) for file in files]
    found = [*files, *(path for path in beside if path.exists())]
    return [(str(file.resolve()), file.stat().st_size, change_mark(file)) for file in found]
