"""Tasks of memory: train small models in short episodes, and count right answers in long ones, read in a stream."""

from pathlib import Path

from undula.bench.records import append_records, results_file
from undula.cli.arguments import parsed_length, parser, split_overrides
from undula.cli.compare import Watched
from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.measuring import add_results, results_folder
from undula.cli.screen import console, table
from undula.optional import late_import
from undula.recipes.changes import changed
from undula.recipes.long import RECALL_MODELS, recall

LENGTHS = "2k,4k,16k"


def run(kind: str, arguments: list[str]) -> int:
    """Train, ask, print and record; returns the exit code.

    Args:
        kind: of the task: needle or copy.
        arguments: words of the command line.
    """
    words, overrides = split_overrides(arguments)
    reader = parser(f"bench {kind}", f"{__doc__} Values of all runs are changed as in `undula train`: steps=3000.")
    reader.add_argument(
        "models", nargs="*", type=str, help=f"some of {'; '.join(RECALL_MODELS)} (default: all)", default=[]
    )
    reader.add_argument("--count", type=int, help="pairs that are hidden, or letters that are repeated")
    reader.add_argument("--lengths", type=str, default=LENGTHS, help=f"steps of the episodes (default: {LENGTHS})")
    reader.add_argument("--episodes", type=int, default=64, help="of each length")
    reader.add_argument("--out", type=str, default=f"runs/{kind}", help="finished runs there are not repeated")
    add_results(reader)
    asked = reader.parse_args(words)
    task = kind if asked.count is None else f"{kind}:{asked.count}"
    lengths = [parsed_length(text) for text in asked.lengths.split(",")]
    configs = {name: changed(recall(task, name), overrides) for name in asked.models or RECALL_MODELS}
    screen, experiment = console(), late_import("undula.experiments.recall")
    path, records = results_file(kind, results_folder(asked)), []
    try:
        with Watched(screen) as watch:
            for name, config in configs.items():
                contender = experiment.Contender(model=name, config=config)
                found = experiment.recall(contender, lengths, Path(asked.out), episodes=asked.episodes, watch=watch)
                append_records(path, [found])
                records.append(found)
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on where it was", soft_wrap=True)
        return INTERRUPTED
    screen.print(f"{len(records)} records added to {path}", soft_wrap=True)
    head = ("model", "parameters", *(f"{length:,} steps" for length in lengths))
    rows = [
        (r.config["model"], r.figures["parameters"], *(f"{share:.1%}" for share in r.figures["accuracy"].values()))
        for r in records
    ]
    trained_on = records[0].config["train_length"]
    screen.print(f"{task}, right answers; trained on up to {trained_on:,} steps", soft_wrap=True)
    screen.print(table(head, rows))
    return SUCCESS
