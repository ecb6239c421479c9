"""The newest results in a document, made from records and from nothing else (no torch here)."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from undula.bench.markdown import TABLES
from undula.bench.records import Record, read_records, results_file
from undula.names import unknown_name

MARKED = re.compile(r"(<!-- results:begin(?P<kinds>[^>]*)-->\n)(?P<table>.*?)(<!-- results:end -->)", re.DOTALL)
TRIALS = ("tiny",)
"""Cases for trying things out, which no table shows."""

ONE_BY_ONE = ("needle", "copy", "recognition", "translation")
"""Kinds of which the newest record of each model is shown, not the newest run of all."""


def with_results(text: str, results: Path | None = None) -> str:
    """Return a document with the table between its markers made anew.

    The markers are the lines `<!-- results:begin -->` and `<!-- results:end -->`; the first may name the kinds of
    measurement to show, whole or by the beginning of cases: `<!-- results:begin compare/p0 train -->`.

    Args:
        text: the document.
        results: folder of the records; see `results_file`.

    Raises:
        ValueError: when there are no markers, or a kind is unknown.
    """
    if not MARKED.search(text):
        raise ValueError("no lines <!-- results:begin --> and <!-- results:end -->; put them where the table is to be")
    return MARKED.sub(lambda m: f"{m[1]}{results_table(results, m['kinds'].split())}{m[4]}", text)


def results_table(results: Path | None = None, kinds: Sequence[str] = ()) -> str:
    """Return the newest results as Markdown; empty when there are none.

    Args:
        results: folder of the records; see `results_file`.
        kinds: kinds of measurement to show, in order; all by default. After a slash, how the names of its cases begin.

    Raises:
        ValueError: for an unknown kind, or a line that is no record.
    """
    tables = []
    for kind, _, beginning in (wanted.partition("/") for wanted in kinds or TABLES):
        if kind not in TABLES:
            raise unknown_name("kind of results", kind, TABLES)
        records = [record for record in read_records(results_file(kind, results)) if record.what == kind]
        runs = newest(record for record in records if case_of(record).startswith(beginning))
        tables += [TABLES[kind](run) for run in runs]
    return "".join(f"\n{table}\n" for table in tables) + ("\n" if tables else "")


def newest(records: Iterable[Record]) -> list[list[Record]]:
    """Return the records of the last run of each case or title, per device, precision, threads and allocator."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        setting = record.config["setting"]
        case = case_of(record)
        if case in TRIALS:
            continue
        how = [setting[name] for name in ("device", "dtype", "threads")]
        key = f"{case} {how} {record.machine.get('allocator', {})}"
        known = runs.get(key, [])
        # Models on tasks of memory are recorded one by one.
        together = record.what in ONE_BY_ONE or (known and known[0].date == record.date)
        runs[key] = [*known, record] if together else [record]
    return list(runs.values())


def case_of(record: Record) -> str:
    """Return the name of what was measured, among measurements of its kind."""
    return record.config.get("case") or record.config["title"]
