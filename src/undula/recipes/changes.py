"""Several values of a configuration changed at once, by dotted path."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar

from undula.config import from_dict, replaced, to_dict

C = TypeVar("C")


def changed(config: C, changes: Mapping[str, Any]) -> C:
    """Return a copy of a configuration with other values, checked only when all of them are in place.

    So the order does not matter where two values must agree. Where a field wants a tuple, a single value will do, and
    so will several with commas between them.

    Args:
        config: any configuration.
        changes: values by dotted path, such as {"optim.learning_rate": 3e-4}, or nested: {"optim": {...}}.

    Raises:
        ValueError: for an unknown key (names the nearest), a value of the wrong type, or values that do not agree.
    """
    values = to_dict(config)
    for path, value in _flat(config, changes).items():
        _refuse_unknown(config, path, value)
        *above, last = path.split(".")
        inner = values
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = _listed(value) if isinstance(inner.get(last), list) else value
    return from_dict(type(config), values)


def _flat(config: Any, changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Changes by full path; a mapping is gone into where the configuration has a part of that name."""
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        part: Any = config
        for name in key.split("."):
            part = getattr(part, name, None)
        if isinstance(value, Mapping) and is_dataclass(part):
            flat.update(_flat(part, value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _refuse_unknown(config: Any, path: str, value: Any) -> None:
    """Let `replaced` speak about a path that leads nowhere; the value is put to the test later, with all others."""
    key, _, rest = path.partition(".")
    inner = getattr(config, key, None)
    if not hasattr(config, key) or (rest and not is_dataclass(inner) and not isinstance(inner, Mapping)):
        replaced(config, path, value)
    elif rest and is_dataclass(inner):
        _refuse_unknown(inner, rest, value)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return [_number(text) for text in value.split(",")] if isinstance(value, str) else [value]


def _number(text: str) -> int | float | str:
    """A number where the text is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
