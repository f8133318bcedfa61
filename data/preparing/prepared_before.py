"""What stands at the output of the prepare job: nothing, the same dataset, another one, or something not to be touched."""

import logging
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.manifest import MANIFEST_NAME, Manifest, SourceFile, sha256_of_file
from data.truth import have_truth, truth_path_of

logger = logging.getLogger(__name__)


def find_prepared(output: Path, files: list[Path], settings: dict[str, Any], force: bool) -> Manifest | None:
    """The manifest of the very dataset that is about to be prepared, if `output` holds it intact; none where it must be made.

    DataError where `output` holds something else that this job must not replace.
    """
    if not output.exists():
        return None
    if not output.is_dir() or not (output / MANIFEST_NAME).exists():
        if output.is_dir() and not any(output.iterdir()):
            return None
        raise DataError(
            f"{output} is there already and is no prepared dataset. Choose another output, or move it away."
        )
    if force:
        return None
    found = Manifest.load(output)
    if difference := _difference(found, files, settings):
        raise DataError(
            f"{output} holds another prepared dataset: {difference}. Choose another output, or replace it with force=true."
        )
    return found if _is_intact(found, output) else None


def _difference(found: Manifest, files: list[Path], settings: dict[str, Any]) -> str | None:
    for name in sorted(settings.keys() | found.settings.keys()):
        if settings.get(name) != found.settings.get(name):
            return f"its {name} is {found.settings.get(name)}, asked for is {settings.get(name)}"
    if len(files) != len(found.origin):
        return f"it was made of {len(found.origin)} raw files, the source has {len(files)}"
    has_truth = have_truth(files)
    for file, origin in zip(files, found.origin, strict=True):
        if not _is_same_file(file, origin, has_truth):
            return f"it was made of another {origin.name} ({origin.num_bytes:,} bytes, sha256 {origin.sha256[:12]}...)"
    return None


def _is_same_file(file: Path, origin: SourceFile, has_truth: bool) -> bool:
    return (
        file.stat().st_size == origin.num_bytes
        and sha256_of_file(file) == origin.sha256
        and (sha256_of_file(truth_path_of(file)) if has_truth else None) == origin.truth_sha256
    )


def _is_intact(found: Manifest, output: Path) -> bool:
    try:
        found.verify(output)
    except DataError as error:
        logger.warning("%s Preparing it again.", error)
        return False
    return True
