"""Code run in a fresh Python, as another process of the same user would run it."""

import os
import subprocess
import sys


def run_python(code, *arguments):
    """Return what the code printed; a failure shows what it wrote to stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
