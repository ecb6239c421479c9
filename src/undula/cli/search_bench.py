"""Score translators' runs on what they hold out with several ways of searching, time each, and record."""

from pathlib import Path

from undula.bench.setting import BenchSetting
from undula.cli.arguments import parser
from undula.cli.main import SUCCESS
from undula.cli.measuring import add_results, add_threads, measured
from undula.cli.screen import console, table
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Search, print and record; returns the exit code."""
    reader = parser("bench search", __doc__ or "")
    reader.add_argument("runs", nargs="+", type=str, help="folders of runs; several of one model are its seeds")
    reader.add_argument("--beams", type=list[int], default=[1, 4, 8], help="numbers of beams")
    reader.add_argument("--length-penalty", type=list[float], default=[1.0], help="of beams, such as [0.6,1.0]")
    reader.add_argument("--coverage-penalty", type=list[float], default=[0.0], help="of beams, such as [0,0.2]")
    add_threads(reader)
    add_results(reader)
    asked = reader.parse_args(arguments)
    setting = BenchSetting(repeats=1, warmup=0, threads=asked.threads)
    search = late_import("undula.experiments.search").bench_search
    runs, ways = [Path(folder) for folder in asked.runs], (asked.beams, asked.length_penalty, asked.coverage_penalty)
    records = measured("search", asked, lambda: search(runs, *ways, setting), "searching")
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
    console().print(table(head, rows, f"held-out sentences, {setting.threads} threads"))
    return SUCCESS
