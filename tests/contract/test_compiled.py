"""Compiled is eager: no break in the graph, the same numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.cases import MIXER_CASES
from tests.contract.compiled import COMPILED_MODELS, ENCODERS, WAVELETS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_compiled_equals_eager():
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", "tests.contract.compiled"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    errors = json.loads(run.stdout)
    assert len(errors) == len(MIXER_CASES) + len(COMPILED_MODELS) + len(WAVELETS) + len(ENCODERS)
    assert {name: error for name, error in errors.items() if not error < 1e-4} == {}
