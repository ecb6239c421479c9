"""Continue a prompt with the model of a run, or translate it; the text appears as it is made."""

import sys
from pathlib import Path
from typing import Any

from undula.cli.arguments import parser
from undula.cli.main import SUCCESS
from undula.cli.translation import write_translation
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Print prompt and continuation; returns the exit code."""
    reader = parser("generate", __doc__ or "")
    reader.add_argument("run", type=str, help="folder of a run")
    reader.add_argument(
        "--prompt", type=str, default="", help="the text to continue or translate; empty: the start of a document"
    )
    reader.add_argument("--max-new-tokens", type=int, default=300, help="at most this many tokens")
    reader.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest token")
    reader.add_argument("--top-k", type=int, default=0, help="choose among the k likeliest tokens; 0: among all")
    reader.add_argument("--top-p", type=float, default=1.0, help="choose among the likeliest of this total probability")
    reader.add_argument("--beams", type=int, help="of a translator: sequences that are followed (default: the run's)")
    reader.add_argument("--seed", type=int, default=0, help="another seed gives another text")
    asked = reader.parse_args(arguments)
    if late_import("undula.experiments.translation").is_translation_run(Path(asked.run)):
        return write_translation(Path(asked.run), _plain(asked.prompt), asked.max_new_tokens, asked.beams)
    sample = late_import("undula.experiments.sample")
    sampling = sample.Sampling(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        seed=asked.seed,
    )
    loaded = late_import("undula.experiments.run").load_run(Path(asked.run))
    sample.continuation(loaded, _plain(asked.prompt), sampling, on_text=_write)
    print()
    return SUCCESS


def _plain(prompt: Any) -> str:
    return "" if prompt is None else str(prompt)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
