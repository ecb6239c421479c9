"""Compact trained models, train them a little longer, and record what that costs in loss and saves."""

from pathlib import Path

from undula.bench.setting import BenchSetting
from undula.cli.arguments import parser
from undula.cli.main import SUCCESS
from undula.cli.measuring import add_results, add_threads, measured
from undula.cli.screen import console, table
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Compact, train, score, time, print and record; returns the exit code."""
    reader = parser("bench compact", __doc__ or "")
    reader.add_argument("runs", nargs="+", type=str, help="folders of runs with a selector; several are its seeds")
    reader.add_argument("--whole", type=list[str], required=True, help="for each a run of full width, as [A,B]")
    reader.add_argument("--steps", type=int, default=200, help="steps that each is trained for")
    reader.add_argument("--rate", type=float, default=1e-4, help="learning rate at their start")
    reader.add_argument("--out", type=str, default="runs/compacted", help="folder for the compacted models' runs")
    add_threads(reader)
    add_results(reader)
    asked = reader.parse_args(arguments)
    setting = BenchSetting(threads=asked.threads)
    bench = late_import("undula.experiments.compact").bench_compacted
    runs, wholes = ([Path(folder) for folder in folders] for folders in (asked.runs, asked.whole))
    training = Path(asked.out), asked.steps, asked.rate
    records = measured("compact", asked, lambda: bench(runs, wholes, *training, setting), "training what is left")
    head = ("model", "seed", "parameters", "x", "time, x", "nats, full width", "cut", "trained", "against full width")
    rows = []
    for record in records:
        figures = record.figures
        rows.append(
            (
                record.config["model"],
                record.config["seed"],
                figures["compacted_parameters"],
                f"{figures['compacted_parameters'] / figures['whole_parameters']:.2f}",
                f"{1 / figures['ratio']:.2f}",
                *(f"{figures[name]:.4f}" for name in ("loss_whole", "loss_cut", "loss")),
                f"{figures['loss'] / figures['loss_whole'] - 1:+.2%}",
            )
        )
    console().print(table(head, rows, f"compacted, {setting.threads} threads"))
    return SUCCESS
