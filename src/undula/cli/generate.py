"""Continue a prompt with the model of a run, or translate it, or tell what it is; text appears as it is made."""

from pathlib import Path

from undula.cli.arguments import parser
from undula.cli.kinds import run_of
from undula.cli.main import SUCCESS


def run(arguments: list[str]) -> int:
    """Print prompt and continuation; returns the exit code."""
    reader = parser("generate", __doc__ or "")
    reader.add_argument("run", type=str, help="folder of a run")
    reader.add_argument(
        "--prompt", type=str, default="", help="the text to continue, translate or tell of, or a path; empty: the start"
    )
    reader.add_argument("--max-new-tokens", type=int, default=300, help="at most this many tokens")
    reader.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest token")
    reader.add_argument("--top-k", type=int, default=0, help="choose among the k likeliest tokens; 0: among all")
    reader.add_argument("--top-p", type=float, default=1.0, help="choose among the likeliest of this total probability")
    reader.add_argument("--beams", type=int, help="of a translator: sequences that are followed (default: the run's)")
    reader.add_argument("--seed", type=int, default=0, help="another seed gives another text")
    asked = reader.parse_args(arguments)
    folder, asked.prompt = Path(asked.run), "" if asked.prompt is None else str(asked.prompt)
    kind = run_of(folder)[1]
    if kind.generate is None:
        raise ValueError(f"the model of {folder} writes nothing; what there is: undula evaluate {folder}")
    kind.generate(folder, asked)
    print()
    return SUCCESS
