"""What an audit reports."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measured property."""

    name: str
    passed: bool | None
    """None: not claimed or not measurable, so neither passed nor failed; `detail` says which."""
    value: float
    """What was measured; NaN where nothing was."""
    limit: float
    """The value at which the property fails; `detail` says on which side."""
    detail: str


def not_measured(name: str, why: str) -> Finding:
    """Return the finding of a property that was not put to the test, and why."""
    return Finding(name=name, passed=None, value=float("nan"), limit=float("nan"), detail=why)


def at_most(name: str, value: float, limit: float, detail: str) -> Finding:
    """Return a finding that passes when `value` does not exceed `limit` (NaN does)."""
    return Finding(name=name, passed=bool(value <= limit), value=float(value), limit=float(limit), detail=detail)


def above(name: str, value: float, limit: float, detail: str) -> Finding:
    """Return a finding that passes when `value` exceeds `limit`."""
    return Finding(name=name, passed=bool(value > limit), value=float(value), limit=float(limit), detail=detail)


def failures(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that failed."""
    return [finding for finding in findings if finding.passed is False]
