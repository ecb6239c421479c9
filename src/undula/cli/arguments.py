"""What the verbs have in common in reading their arguments."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, get_loader

OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def parser(verb: str, purpose: str) -> ArgumentParser:
    """Return the parser of a verb; errors are raised, so that `main` can say them in one line."""
    return ArgumentParser(prog=f"undula {verb}", description=purpose, exit_on_error=False)


def split_overrides(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the words that are no `key=value`, and the values by dotted key; values are read as YAML.

    >>> split_overrides(["smoke", "optim.learning_rate=1e-3"])
    (['smoke'], {'optim.learning_rate': 0.001})
    """
    pairs = [word.split("=", 1) for word in words if OVERRIDE.match(word)]
    return [word for word in words if not OVERRIDE.match(word)], {key: _value(key, text) for key, text in pairs}


def parsed_length(text: str) -> int:
    """Return a number of steps: k at the end is 1024 up to 128k, as in powers of two, and 1000 beyond, as in 200k.

    >>> [parsed_length(text) for text in ("512", "4k", "64k", "128k", "200k")]
    [512, 4096, 65536, 131072, 200000]

    Raises:
        ValueError: for anything that is no positive whole number, with a k at its end or without.
    """
    digits, thousands = (text[:-1], True) if text[-1:].lower() == "k" else (text, False)
    if not digits.isdecimal() or int(digits) < 1:
        raise ValueError(f"length {text!r}; wanted a whole number such as 512, 4k (4096) or 200k (200000)")
    return int(digits) * ((1024 if int(digits) <= 128 else 1000) if thousands else 1)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML (or JSON) file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds anything but keys and values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}; give a YAML file, or a run's config.json")
    content = _loaded(str(path), path.read_text(encoding="utf-8"))
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no keys; wanted lines such as `steps: 500`")
    return {str(key): value for key, value in content.items()}


def _value(key: str, text: str) -> Any:
    return _loaded(key, text) if text else text


def _loaded(where: str, text: str) -> Any:
    try:
        return get_loader("yaml")(text)
    except Exception as error:
        # The loader's own errors share no base class that jsonargparse names.
        raise ValueError(f"{where}: cannot be read as YAML: {error}") from error
