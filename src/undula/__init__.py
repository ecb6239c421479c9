"""Frequency-domain sequence models: sequences as waves, mixed by Fourier and wavelet transforms or by interference.

Public names stand in `__init__.pyi`, one line each, for type checkers and for this module alike. They are resolved when
first used, so that `import undula` stays light: it loads neither torch, transformers nor matplotlib.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from undula.names import unknown_name

__version__ = "0.1.0"


def _public_names() -> dict[str, str]:
    """Return the module of each public name."""
    tree = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_PUBLIC = _public_names()
__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in _PUBLIC:
        raise AttributeError(f"module 'undula': {unknown_name('name', name, __all__)}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
