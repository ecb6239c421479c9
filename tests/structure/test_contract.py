"""The import contract in pyproject.toml finds what it forbids, shown on small packages of the same name."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("cli", "recipes", "experiments", "bench", "hf", "training", "validation", "audit", "generation", "models"),
    *("mixers", "optim", "losses", "data", "viz", "nn", "kernels", "ops"),
)


def write_package(folder, imports):
    """Write an empty package with every room of ours, in which room.a imports what `imports` says."""
    files = {"__init__.py": "", "wave.py": ""} | {f"{room}/__init__.py": "" for room in ROOMS}
    files |= {f"{name}.py": "" for name in ("allocator", "config", "files", "names", "optional", "shapes")}
    for importer, imported in imports:
        files.setdefault(f"{imported.replace('.', '/')}.py", "")
        files[f"{importer.replace('.', '/')}.py"] = f"import undula.{imported}\n"
    for name, text in files.items():
        path = folder / "undula" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def broken_contracts(folder):
    """Return the names of the contracts that the package in `folder` breaks."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    run = subprocess.run(
        [*command, "--config", str(ROOT / "pyproject.toml")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    results = re.findall(r"^(.+) (KEPT|BROKEN)$", run.stdout, re.MULTILINE)
    names = [
        c["name"] for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    ]
    assert [name.strip() for name, _ in results] == names, run.stdout + run.stderr
    return [name.strip().split()[0] for name, result in results if result == "BROKEN"]


@pytest.mark.parametrize(
    ("imports", "broken"),
    [
        ([("mixers.a", "ops.b"), ("cli.a", "models.b"), ("experiments.a", "viz.b"), ("optim.a", "nn.b")], []),
        ([("ops.a", "models.b")], ["Imports"]),
        ([("nn.a", "data.b")], ["Imports"]),
        ([("losses.a", "data.b")], ["Imports"]),
        ([("shapes", "ops.b")], ["Imports"]),
        ([("attic", "ops.b")], ["Imports"]),
        ([("nn.a", "nn.b"), ("nn.b", "nn.c"), ("nn.c", "nn.a")], ["No"]),
        ([("training.a", "viz.b")], ["Pictures"]),
    ],
)
def test_contract_breaks_for_what_it_forbids(tmp_path, imports, broken):
    write_package(tmp_path, imports)
    assert broken_contracts(tmp_path) == broken
