"""What holds for every test: shapes and types are checked as the code runs, one thread, fixed seeds, no network."""

import os
import random
import sys

# Before torch is imported; processes that a test starts inherit them.
os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

# Before undula is imported, or its modules stay unchecked.
from jaxtyping import install_import_hook

import tests.checking

if any(name.partition(".")[0] == "undula" for name in sys.modules):
    raise RuntimeError("undula was imported before tests/conftest.py: its annotations would not be checked")
install_import_hook("undula", f"{tests.checking.__name__}.checked")

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

# The same examples on every machine, and no limit on their time: a test's outcome never depends on its environment.
hypothesis.settings.register_profile("undula", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("undula")


@pytest.fixture(autouse=True)
def seeded():
    """Start each test from the same random state and with all checks, and see that it leaves global settings alone."""
    tests.checking.check_again()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() is torch.float32, "the test changed torch's default dtype"
    assert torch.is_grad_enabled(), "the test switched gradients off"
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
