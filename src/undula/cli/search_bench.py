"""Score translators' runs on what they hold out with several ways of searching, time each, and record."""

from pathlib import Path

from undula.bench.records import append_records, results_file
from undula.bench.setting import BenchSetting
from undula.cli.arguments import parser
from undula.cli.main import SUCCESS
from undula.cli.screen import console, table
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Search, print and record; returns the exit code."""
    reader = parser("bench search", __doc__ or "")
    reader.add_argument("runs", nargs="+", type=str, help="folders of runs; several of one model are its seeds")
    reader.add_argument("--beams", type=list[int], default=[1, 4, 8], help="numbers of beams")
    reader.add_argument("--length-penalty", type=list[float], default=[1.0], help="of beams, such as [0.6,1.0]")
    reader.add_argument("--coverage-penalty", type=list[float], default=[0.0], help="of beams, such as [0,0.2]")
    reader.add_argument("--threads", type=int, default=BenchSetting().threads, help="threads of an operation")
    reader.add_argument(
        "--results", type=str, help="folder of the records (default: benchmarks/results of this repository)"
    )
    asked = reader.parse_args(arguments)
    setting = BenchSetting(repeats=1, warmup=0, threads=asked.threads)
    bench, screen = late_import("undula.experiments.search"), console()
    path = results_file("search", Path(asked.results) if asked.results else None)
    penalties, records = (asked.length_penalty, asked.coverage_penalty), []
    with screen.status("searching"):
        for record in bench.bench_search([Path(folder) for folder in asked.runs], asked.beams, *penalties, setting):
            append_records(path, [record])
            records.append(record)
    screen.print(f"{len(records)} records added to {path}", soft_wrap=True)
    head = ("model", "seed", "beams", "length penalty", "coverage penalty", "BLEU", "words", "sentences/s")
    names = ("model", "seed", "num_beams", "length_penalty", "coverage_penalty")
    rows = [
        (
            *(record.config[name] for name in names),
            f"{record.figures['bleu']:.2f}",
            f"{record.figures['words']:.2f}",
            record.figures["sentences_per_second"],
        )
        for record in records
    ]
    screen.print(table(head, rows, f"held-out sentences, {setting.threads} threads"))
    return SUCCESS
