"""The command `undula`: finds the verb, runs it, and turns errors into one line and an exit code.

Nothing heavy is imported before the verb is known, so that help appears at once.
"""

import errno
import os
import sys
import traceback
from argparse import ArgumentError
from collections.abc import Sequence

from undula import __version__
from undula.names import unknown_name
from undula.optional import late_import

VERBS: dict[str, tuple[str, str]] = {
    "train": ("undula.cli.train", "train a recipe into a run folder, or resume one"),
    "generate": ("undula.cli.generate", "continue or translate a prompt with a trained model, or tell what it is"),
    "evaluate": ("undula.cli.evaluate", "score a trained model on all that it holds out, or on other data"),
    "audit": ("undula.cli.audit", "measure whether a trained model leaks, streams and pads as it should"),
    "validate": ("undula.cli.validate", "check a model, its text and its training in one report with a score"),
    "compare": (
        "undula.cli.compare",
        "train recipes on identical batches and rank them: language models, or recognisers",
    ),
    "ablate": ("undula.cli.ablate", "train the ablations of Wave-Native GPT and say what each factor brings"),
    "evolve": ("undula.cli.evolve", "evolve the wavelets of a trained model; the winner has to be better beyond noise"),
    "lr-experiment": ("undula.cli.lr_experiment", "ask whether another learning rate or schedule helps, and judge"),
    "bench": ("undula.cli.bench", "measure speed, memory and error against peers"),
    "show": ("undula.cli.show", "show a run, its learned waves, or the mixers and recipes there are"),
    "animate": ("undula.cli.animate", "film a trained model while it writes"),
    "demo": ("undula.cli.demo", "train, compare, audit and draw everything in one report"),
}
"""Each verb's module, which has `run(arguments) -> exit code`, and what it does in one line."""

SUCCESS, UNEXPECTED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130

REMEDIES = {
    errno.ENOSPC: "free some space there, then run the command again",
    errno.EDQUOT: "free some of your quota there, then run the command again",
    errno.EACCES: "choose a place that you may read and write",
    errno.EROFS: "choose a place that can be written",
    errno.EISDIR: "give a file, not a folder",
    errno.ENOTDIR: "part of the path is a file; give another one",
    errno.EEXIST: "there is a file of that name; give another one",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a failed audit or a fault of ours, 2 what you can mend.

    Args:
        argv: words after the program's name; None: those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    # Errors become lines here; without this the library says the same again, at length.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return SUCCESS
    if words[0] == "--version":
        print(f"undula {__version__}")
        return SUCCESS
    try:
        return _run(words[0], words[1:])
    except KeyboardInterrupt:
        print("undula: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads our output has seen enough (`undula show mixers | head`); the interpreter must not flush into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS
    except Exception as error:  # noqa: BLE001  (the outermost edge: here every error becomes a line)
        if debug:
            traceback.print_exc()
        code, line = explained(error)
        print(f"undula: {line}", file=sys.stderr)
        return code


def usage() -> str:
    """Return the help of the program."""
    verbs = "\n".join(f"  {verb:<15}{purpose}" for verb, (_, purpose) in VERBS.items())
    return f"""usage: undula VERB [arguments] [--debug]

Frequency-domain sequence models: train, generate, measure, compare.

{verbs}

undula VERB --help     the arguments of a verb
undula --version       the version
--debug                show the traceback of an error

Begin with: undula demo, or undula train smoke --out runs/smoke"""


def explained(error: Exception) -> tuple[int, str]:
    """Return the exit code and the line that an error becomes.

    What a user can mend (values, files, missing extras) is said as it is; anything else is a fault of ours.
    """
    message = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0)
        return USER_ERROR, f"{place}{error.strerror}" + (f"; {remedy}" if remedy else "")
    if isinstance(error, ValueError | OSError | ImportError | ArgumentError):
        return USER_ERROR, message or type(error).__name__
    return UNEXPECTED, f"unexpected {type(error).__name__}: {message}; run again with --debug to see where"


def _run(verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        raise unknown_name("verb", verb, VERBS)
    return late_import(VERBS[verb][0]).run(arguments)
