"""What an examination finds, and how it is told: a line a finding, under it the line that mends it. Standard library only."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_MARKS = {"fine": "ok", "note": "-", "warning": "warn", "fatal": "FAIL"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing examined. `fatal` means that jobs cannot run; `mend` is the exact line to type, where there is one."""

    subject: str
    text: str
    severity: Literal["fine", "note", "warning", "fatal"] = "fine"
    mend: str = ""


def findings_text(findings: Iterable[Finding], *, width: int = 110) -> str:
    """The findings as aligned lines, their text wrapped at `width`; a line to type is never broken."""
    return "\n".join(line for finding in findings for line in _lines(finding, width))


def verdict(findings: Iterable[Finding]) -> str:
    """One sentence: whether jobs can run here."""
    severities = [finding.severity for finding in findings]
    fatal, warnings = severities.count("fatal"), severities.count("warning")
    if fatal:
        return f"{_count(fatal, 'problem')} to mend before a job can run here."
    return f"Jobs can run here; {_count(warnings, 'warning')}." if warnings else "Jobs can run here."


def _lines(finding: Finding, width: int) -> list[str]:
    head = f"{_MARKS[finding.severity]:>4}  {finding.subject:<10} "
    indent = " " * len(head)
    lines = textwrap.wrap(finding.text, width, initial_indent=head, subsequent_indent=indent)
    return [*lines, f"{indent}mend: {finding.mend}"] if finding.mend else lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"
