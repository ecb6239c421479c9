"""Public names: all resolve, none is loaded before it is used, and a wrong one is answered with the nearest."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import undula

# Each brings seconds of loading; what these import themselves is not of interest.
HEAVY = {"torch", "transformers", "matplotlib", "numpy", "accelerate", "scipy"}


def loaded_by(statement):
    """Return the heavy packages that a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nsys.stdout.write(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return HEAVY & set(run.stdout.split())


def test_import_undula_loads_nothing_heavy():
    assert loaded_by("import undula; dir(undula)") == set()


def test_a_wave_needs_neither_transformers_nor_matplotlib():
    assert loaded_by("from undula import Wave, FlashAttention, FFTConv") & {"transformers", "matplotlib"} == set()


@pytest.mark.parametrize("name", undula.__all__)
def test_public_name_resolves_to_what_its_module_holds(name):
    assert getattr(undula, name) is getattr(import_module(undula._PUBLIC[name]), name)
    assert name in dir(undula)


def test_names_are_declared_to_type_checkers_as_they_are_resolved():
    tree = ast.parse(Path(undula.__file__).with_suffix(".pyi").read_text())
    aliases = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    # `from m import X` without `as X` stays private to a type file.
    assert [a.name for a in aliases if a.asname != a.name] == []
    assert sorted(a.name for a in aliases) == undula.__all__


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="unknown name 'WaveTransfomer'; did you mean 'WaveTransformer'?"):
        undula.WaveTransfomer  # noqa: B018
    assert not hasattr(undula, "__wrapped__")
