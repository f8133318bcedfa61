"""What the AUC doctor says: one cause, its evidence in numbers, the next thing to do."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause of a wrong or useless AUC, found in the numbers of a run."""

    cause: str
    """Short stable name: `constant labels`, `tables never updated` ..."""
    evidence: str
    """The numbers that show it."""
    advice: str
    """The next thing to do."""

    def line(self) -> str:
        return f"{self.cause}: {self.evidence}. {self.advice}."


def findings_text(findings: Sequence[Finding]) -> str:
    """A paragraph per finding for the terminal; empty where there is none."""
    return "\n".join(f"AUC doctor: {finding.line()}" for finding in findings)


def plain(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The findings as JSON takes them."""
    return [asdict(finding) for finding in findings]
