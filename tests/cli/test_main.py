"""The program: help, verbs, and what becomes of errors."""

import errno
import subprocess
import sys
from argparse import ArgumentError
from importlib.util import find_spec

import pytest

from undula import __version__
from undula.cli import main as program
from undula.cli.main import VERBS, explained, main

FRESH = "import sys; from undula.cli.main import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"


def fresh(*words):
    return subprocess.run([sys.executable, "-c", FRESH, *words], capture_output=True, text=True, check=True)


def test_help_lists_every_verb_without_loading_torch():
    run = fresh("--help")
    assert [
        line.split()[0] for line in run.stdout.splitlines() if line.split()[:1] and line.split()[0] in VERBS
    ] == list(VERBS)
    assert run.stdout.splitlines()[-1] == "0 False"


def test_a_wrong_recipe_is_refused_without_loading_torch():
    run = fresh("train", "wave_ml")
    assert run.stderr == "undula: unknown recipe 'wave_ml'; did you mean 'wave_lm'?\n"
    assert run.stdout == "2 False\n"


def test_the_package_runs_as_a_module():
    run = subprocess.run([sys.executable, "-m", "undula", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"undula {__version__}\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "undula 0.1.0\n"


def test_every_verb_has_its_module():
    assert [verb for verb, (module, _) in VERBS.items() if find_spec(module) is None] == []


@pytest.mark.parametrize("verb", ["train", "generate", "evaluate", "audit", "show", "demo"])
def test_verb_answers_for_help(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: undula {verb} ")


def test_unknown_verb_and_unknown_option(capsys):
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "undula: unknown verb 'trian'; did you mean 'train'?\n"
    assert main(["evaluate", "runs/x", "--dta", "f"]) == 2
    error = capsys.readouterr().err
    assert "--dta" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("two\n  lines"), 2, "two lines"),
        (ImportError("trackio is not installed; pip"), 2, "trackio is not installed; pip"),
        (ArgumentError(None, "no such option"), 2, "no such option"),
        (FileNotFoundError("no run in x"), 2, "no run in x"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b"),
            2,
            "/a/b: No space left on device; free some space there, then run the command again",
        ),
        (KeyError("k"), 1, "unexpected KeyError: 'k'; run again with --debug to see where"),
    ],
)
def test_what_becomes_of_an_error(error, code, line):
    assert explained(error) == (code, line)


def raising(error):
    def verb(name, arguments):
        raise error

    return verb


def test_traceback_is_shown_only_when_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(program, "_run", raising(RuntimeError("broken")))
    assert main(["train"]) == 1
    assert capsys.readouterr().err == "undula: unexpected RuntimeError: broken; run again with --debug to see where\n"
    assert main(["train", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_no_error(monkeypatch, capsys):
    monkeypatch.setattr(program, "_run", raising(KeyboardInterrupt()))
    assert main(["audit"]) == 130
    assert capsys.readouterr().err == "undula: stopped\n"
