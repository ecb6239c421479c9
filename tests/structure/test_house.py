"""The rules of the house hold, and each of them finds a planted violation."""

import subprocess
import tomllib
from pathlib import Path

import pytest
import torch

from tests.structure import house
from undula.mixers.base import MIXERS, build_mixer

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "undula"


def our_tree():
    return {path.relative_to(SRC).as_posix(): path.read_text(encoding="utf-8") for path in sorted(SRC.rglob("*.py"))}


@pytest.mark.parametrize("rule", house.SOURCE_RULES, ids=lambda rule: rule.__name__)
def test_source_keeps_the_rule(rule):
    assert rule(our_tree()) == []


LIBRARY = "from transformers import Trainer\nfrom undula.mixers.base import Mixer\n"

VIOLATIONS = [
    (house.long_files, {"a.py": "x = 1\n" * 401}),
    (house.long_functions, {"a.py": "def f():\n" + "    x = 1\n" * 60}),
    (house.long_functions, {"a.py": "class A:\n    async def f(self):\n" + "        x = 1\n" * 60}),
    (house.deep_inheritance, {"a.py": "class A: ...\nclass B(A): ...\n", "b.py": "class C(a.B): ...\n"}),
    (house.deep_inheritance, {"a.py": "class A(Generic[T]): ...\nclass B(A[int]): ...\nclass C(B): ...\n"}),
    (house.keyword_catchalls, {"a.py": "def f(**kwargs): ...\n"}),
    (house.keyword_catchalls, {"a.py": "class A:\n    def __init__(self, **kwargs): ...\n"}),
    (house.keyword_catchalls, {"a.py": LIBRARY + "class A(Trainer):\n    def log(self, **kwargs): ...\n"}),
    (house.keyword_catchalls, {"hf/a.py": LIBRARY + "class A(Mixer):\n    def log(self, **kwargs): ...\n"}),
    (house.keyword_catchalls, {"hf/a.py": LIBRARY + "def log(**kwargs): ...\n"}),
    (house.asserts_and_prints, {"a.py": "def f(x):\n    assert x\n"}),
    (house.asserts_and_prints, {"a.py": "print(1)\n"}),
    (house.late_annotations, {"a.py": "from __future__ import annotations\n"}),
    (house.complex_parameters, {"a.py": "p = nn.Parameter(torch.zeros(3, dtype=torch.complex64))\n"}),
    (
        house.complex_parameters,
        {"a.py": "class A:\n    def f(self):\n        self.register_buffer('x', torch.polar(r, a))\n"},
    ),
    (house.stray_transforms, {"ops/stft.py": "import torch\ny = torch.fft.rfft(x)\n"}),
    (house.stray_transforms, {"ops/stft.py": "import torch.fft as tf\n"}),
    (house.stray_transforms, {"ops/stft.py": "from torch import fft\n"}),
    (house.stray_transforms, {"ops/stft.py": "from torch.fft import rfft\n"}),
    (house.heavy_packages, {"ops/__init__.py": '"""Maths."""\nfrom undula.ops.fft import rfft\n'}),
    (house.heavy_packages, {"ops/__init__.py": ""}),
    (house.registry_hosts, {"a.txt": "--index-url https://pypi" + ".org/simple\n"}),
]


@pytest.mark.parametrize(("rule", "tree"), VIOLATIONS, ids=[rule.__name__ for rule, _ in VIOLATIONS])
def test_rule_finds_a_planted_violation(rule, tree):
    assert len(rule(tree)) == 1


ALLOWED = [
    (house.long_files, {"a.py": "x = 1\n" * 400}),
    (house.long_functions, {"a.py": "def f():\n" + "    x = 1\n" * 59}),
    (house.deep_inheritance, {"a.py": "class A(nn.Module): ...\nclass B(A): ...\nclass C(A): ...\n"}),
    (house.keyword_catchalls, {"a.py": "def build(**options): ...\ndef _f(**k): ...\ndef plot_spectrum(**k): ...\n"}),
    (house.keyword_catchalls, {"a.py": "def f():\n    def g(**kwargs): ...\n"}),
    (house.keyword_catchalls, {"hf/a.py": LIBRARY + "class A(Trainer):\n    def log(self, **kwargs): ...\n"}),
    (house.asserts_and_prints, {"cli/a.py": "print(1)\n", "a.py": "console.print(1)\n"}),
    (house.complex_parameters, {"a.py": "p = nn.Parameter(torch.zeros(3, 2))\nz = torch.view_as_complex(p)\n"}),
    (house.stray_transforms, {"ops/fft.py": "import torch\ny = torch.fft.rfft(x)\n", "a.py": '"""See torch.fft."""\n'}),
    (house.heavy_packages, {"ops/__init__.py": '"""Maths."""\n', "__init__.py": "x = 1\n"}),
    (
        house.heavy_packages,
        {"mixers/__init__.py": "from undula.mixers.fft_conv import FFTConv\n"},
    ),
]


@pytest.mark.parametrize(("rule", "tree"), ALLOWED, ids=[rule.__name__ for rule, _ in ALLOWED])
def test_rule_allows_what_is_right(rule, tree):
    assert rule(tree) == []


def complex_tensors(module):
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in tensors if tensor.is_complex()]


def test_every_mixer_holds_real_numbers_alone():
    assert complex_tensors(torch.nn.Linear(2, 2, dtype=torch.complex64)) == ["weight", "bias"]
    assert {name: complex_tensors(build_mixer(name, 24, 4)) for name in MIXERS} == {name: [] for name in MIXERS}
    assert {"attention", "fft_conv"} <= set(MIXERS)


def test_no_file_names_the_host_of_a_registry():
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    assert ROOT / "pyproject.toml" in files
    texts = {str(path.relative_to(ROOT)): path.read_bytes().decode("utf-8", errors="replace") for path in files}
    assert house.registry_hosts(texts) == []


def test_every_requirement_of_the_environment_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["bench"], *extras["dev"]]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert {requirement.partition(">=")[0].lower() for requirement in wanted} - pinned == set()
