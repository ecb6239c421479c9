"""Score the model of a run on all that it holds out: text, recordings, translations or labels; or on others."""

from pathlib import Path

from undula.cli.arguments import parser
from undula.cli.kinds import run_of
from undula.cli.main import SUCCESS
from undula.cli.screen import console


def run(arguments: list[str]) -> int:
    """Print the score; returns the exit code."""
    reader = parser("evaluate", __doc__ or "")
    reader.add_argument("run", type=str, help="folder of a run")
    reader.add_argument(
        "--data",
        type=str,
        help="a file or folder of text, sound or pairs, or a source of labelled data (default: what it holds out)",
    )
    reader.add_argument("--length", type=str, help="tokens in a window, such as 4k or 200k (default: the run's)")
    reader.add_argument("--piece", type=int, help="tokens read at a time, 0 for all of a window (default: the run's)")
    reader.add_argument("--beams", type=list[int], help="of a translator: numbers of beams, such as [1,4]")
    reader.add_argument("--length-penalty", type=list[float], help="of its beams, such as [0.6,1.0]")
    reader.add_argument("--coverage-penalty", type=list[float], help="of its beams, such as [0,0.2]")
    asked = reader.parse_args(arguments)
    folder = Path(asked.run)
    run_of(folder)[1].evaluate(folder, asked, console())
    return SUCCESS
