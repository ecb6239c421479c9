"""What a resumed run needs beside the model: states of optimizer, schedule and random generators.

Stored as safetensors: tensors as they are, all else as JSON in the header. Nothing that is loaded can run code.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

HEADER = "tree"


def save_tree(tree: Any, path: Path) -> None:
    """Write nested dictionaries, lists and tuples of tensors and plain values.

    Raises:
        ValueError: for a value of another kind.
    """
    tensors: dict[str, Tensor] = {}
    outline = _outline(tree, tensors)
    save_file(tensors, path, metadata={HEADER: json.dumps(outline)})


def load_tree(path: Path) -> Any:
    """Return what `save_tree` wrote, bit for bit, tensors on the CPU.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    with safe_open(path, framework="pt") as file:
        return _tree(json.loads(file.metadata()[HEADER]), file)


def _outline(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = str(len(tensors))
        tensors[name] = tree.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[key, _outline(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [_outline(value, tensors) for value in tree]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise ValueError(
        f"cannot store a {type(tree).__name__}; wanted tensors, numbers, text, lists, tuples and dictionaries"
    )


def _tree(outline: Any, file: Any) -> Any:
    if not isinstance(outline, dict):
        return outline
    ((kind, content),) = outline.items()
    match kind:
        case "tensor":
            # A copy: the file may be deleted while the run goes on, and its numbers are aligned as they happen to lie.
            return file.get_tensor(content).clone()
        case "dict":
            return {key: _tree(value, file) for key, value in content}
        case "list":
            return [_tree(value, file) for value in content]
        case _:
            return tuple(_tree(value, file) for value in content)


def rng_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators, and of the device's."""
    kind, keys, *rest = np.random.get_state()
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state()
    return state


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators where `rng_state` found them; of a device that the state does not know nothing is set."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type in state and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[device.type])


@contextmanager
def kept_rng() -> Iterator[None]:
    """Leave the generators as they were before the block, whatever happens in it."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    before = rng_state(device)
    try:
        yield
    finally:
        set_rng_state(before, device)
