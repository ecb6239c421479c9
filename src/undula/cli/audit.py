"""Measure whether the model of a run leaks the future, streams exactly, ignores padding, and more."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from undula.cli.arguments import parser
from undula.cli.kinds import run_of
from undula.cli.main import SUCCESS, UNEXPECTED
from undula.cli.screen import console, table

if TYPE_CHECKING:
    from undula.audit.finding import Finding

VERDICTS = {True: "[green]pass[/green]", False: "[bold red]FAIL[/bold red]", None: "[dim]n/a[/dim]"}


def run(arguments: list[str]) -> int:
    """Print what was measured; returns 0 when nothing failed, else 1."""
    reader = parser("audit", __doc__ or "")
    reader.add_argument("run", type=str, help="folder of a run")
    asked = reader.parse_args(arguments)
    folder, screen = Path(asked.run), console()
    audit = run_of(folder)[1].audit
    with screen.status("measuring"):
        findings = audit(folder)
    screen.print(findings_table(findings, asked.run))
    failed = [finding.name for finding in findings if finding.passed is False]
    screen.print(f"failed: {', '.join(failed)}" if failed else "nothing failed", style="bold")
    return UNEXPECTED if failed else SUCCESS


def findings_table(findings: Sequence["Finding"], title: str) -> Table:
    """Return findings as a table."""
    rows = [
        (VERDICTS[finding.passed], finding.name, f"{finding.value:.3g}", f"{finding.limit:.3g}", finding.detail)
        for finding in findings
    ]
    return table(("", "property", "measured", "limit", "how"), rows, title)
