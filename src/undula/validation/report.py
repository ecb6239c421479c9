"""Many checks as one score and one verdict, in which a critical failure cannot hide."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from undula.audit.finding import Finding
from undula.files import write_flushed
from undula.validation.results import plain

Severity = Literal["critical", "warning", "info"]

WEIGHTS: dict[str, int] = {"critical": 5, "warning": 2, "info": 1}
CAP = 40.0
"""The most that a report with a critical failure scores."""
GOOD = 75.0
"""The least score of what has passed with warnings."""

CRITICAL_AUDITS = ("prefix", "leak", "streaming", "padding", "batch", "train equals eval", "loss floor")
"""Audits without which a score says nothing; the others warn."""


ADVICE: dict[str, str] = {
    "perplexity calculation": "take the exponential of all nats over all tokens that count, not a mean of means",
    "dataset overlap": "take the shared passages out of training, or hold out other documents (data.split_seed)",
    "sequence construction": "cut windows side by side, each with the tokens shifted by one as targets",
    "prefix": "let nothing depend on the length of the whole text: no transform over all of it",
    "leak": "let no position see a later one; every score of this model means nothing until then",
    "streaming": "let the state carry all that later positions need; generated text is not what was scored",
    "padding": "hide padding by torch.where before anything is mixed",
    "batch": "normalise over one row alone",
    "train equals eval": "compute the same function in both modes, but for dropout",
    "loss floor": "look for a way by which a token tells of itself",
    "reconstruction": "take filters of an orthogonal wavelet, as rotation angles make them",
    "better than chance": "train longer, or lower optim.learning_rate",
    "plausible loss": "look for held-out text in training, or for a leak",
    "better than counting": "train longer: three tokens of context do better",
    "training steps": "go on with the run: undula train --resume RUN",
    "training trend": "stop earlier, lower optim.learning_rate, or give more text",
}
"""What to do when a check fails."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one check found.

    Args:
        name: what was checked.
        passed: None: not run, or not claimed.
        severity: critical: a failure makes all else worthless; warning; info.
        score: 0 to 1; NaN where nothing was run.
        value: what was measured.
        threshold: what it is held against.
        evidence: how, and what to do.
        claimed: False: the model does not claim the property, so that it need not be checked.

    Raises:
        ValueError: for a score that does not go with `passed`.
    """

    name: str
    passed: bool | None
    severity: Severity
    score: float
    value: float = math.nan
    threshold: float = math.nan
    evidence: str = ""
    claimed: bool = True

    def __post_init__(self) -> None:
        if (self.passed is None) != math.isnan(self.score) or self.score < 0 or self.score > 1:
            raise ValueError(f"{self.name}: passed={self.passed}, score={self.score}; wanted 0 to 1, NaN when not run")


def check(
    name: str,
    passed: bool,
    severity: Severity,
    evidence: str,
    value: float = math.nan,
    *,
    threshold: float = math.nan,
) -> Check:
    """Return a check that was run: 1 when it passed, else 0."""
    score = float(passed)
    return Check(
        name=name,
        passed=passed,
        severity=severity,
        score=score,
        value=value,
        threshold=threshold,
        evidence=evidence,
    )


def skipped(name: str, severity: Severity, why: str, *, claimed: bool = True) -> Check:
    """Return a check that was not run."""
    return Check(name=name, passed=None, severity=severity, score=math.nan, evidence=why, claimed=claimed)


def of_finding(finding: Finding) -> Check:
    """Return what an audit found as a check."""
    severity: Severity = "critical" if finding.name in CRITICAL_AUDITS else "warning"
    if finding.passed is None:
        return skipped(finding.name, severity, finding.detail, claimed=not finding.detail.startswith("not claimed"))
    return Check(
        name=finding.name,
        passed=finding.passed,
        severity=severity,
        score=float(finding.passed),
        value=finding.value,
        threshold=finding.limit,
        evidence=finding.detail,
    )


@dataclass(frozen=True)
class Report:
    """All checks of a model.

    Args:
        checks: in the order in which they were run.
    """

    checks: Sequence[Check]

    @property
    def failed(self) -> list[Check]:
        """Checks that failed."""
        return [c for c in self.checks if c.passed is False]

    @property
    def critical(self) -> list[Check]:
        """Critical checks that failed."""
        return [c for c in self.failed if c.severity == "critical"]

    @property
    def not_run(self) -> list[Check]:
        """Checks of what is claimed that were not run."""
        return [c for c in self.checks if c.passed is None and c.claimed]

    @property
    def recommendations(self) -> list[str]:
        """What to do about the checks that failed, the worst first."""
        worst = sorted(self.failed, key=lambda c: -WEIGHTS[c.severity])
        return [f"{c.name}: {ADVICE[c.name]}" for c in worst if c.name in ADVICE]

    @property
    def score(self) -> float:
        """Weighted mean of what was run, 0 to 100, at most 40 after a critical failure; NaN when nothing was run."""
        run = [(WEIGHTS[c.severity], c.score) for c in self.checks if c.passed is not None]
        if not run:
            return math.nan
        score = 100 * sum(w * s for w, s in run) / sum(w for w, _ in run)
        return min(score, CAP) if self.critical else score

    @property
    def verdict(self) -> str:
        """PASSED: all that is claimed was run, and no check but for information failed."""
        if self.critical or not self.score >= GOOD:
            return "FAILED"
        if self.not_run or any(c.severity == "warning" for c in self.failed):
            return "PASSED WITH WARNINGS"
        return "PASSED"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is no number becomes None."""
        names = {"failed": self.failed, "critical_failures": self.critical, "not_run": self.not_run}
        listed = {key: [c.name for c in found] for key, found in names.items()}
        checks = [asdict(c) for c in self.checks]
        told = {**listed, "recommendations": self.recommendations}
        return plain({"score": self.score, "verdict": self.verdict, **told, "checks": checks})

    def save(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_flushed(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
