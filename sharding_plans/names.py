"""What to say about a name that nobody knows."""

import difflib
from collections.abc import Iterable


def nearest_first(given: str, known: Iterable[str]) -> list[str]:
    """The known names, the most alike to `given` first."""
    return sorted(known, key=lambda name: (-difflib.SequenceMatcher(None, given.lower(), name.lower()).ratio(), name))


def unknown_name(kind: str, given: str, known: Iterable[str], *, shown: int = 15) -> str:
    """One sentence that lists the known names, nearest first: 'There is no strategy "tabel_wise"; known are table_wise, ...'."""
    ordered = nearest_first(given, known)
    listed = ", ".join(ordered[:shown]) + (f" and {len(ordered) - shown} more" if len(ordered) > shown else "")
    return f'There is no {kind} "{given}"; known, the nearest first: {listed or "none"}.'
