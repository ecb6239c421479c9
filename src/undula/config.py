"""Frozen, nested, typed configurations: to and from plain dictionaries, with errors that name the nearest key."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from undula.names import unknown_name

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries of plain JSON values."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Build the configuration `cls` from nested dictionaries; what is not given keeps its default.

    Raises:
        ValueError: for an unknown key (names the nearest) or a value of the wrong type.
    """
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise unknown_name(f"key in {where or cls.__name__}", key, hints)
    parts = {key: _typed(hints[key], value, f"{where}.{key}".lstrip(".")) for key, value in values.items()}
    return cls(**parts)


def replaced(config: C, dotted: str, value: Any) -> C:
    """Return a copy of `config` in which the value at a dotted path is another one."""
    key, _, rest = dotted.partition(".")
    hints = get_type_hints(type(config))
    if key not in hints:
        raise unknown_name(f"key in {type(config).__name__}", key, hints)
    inner = getattr(config, key)
    if rest and dataclasses.is_dataclass(inner):
        value = replaced(inner, rest, value)
    elif rest and isinstance(inner, Mapping):
        head, _, tail = rest.partition(".")
        below = {**inner.get(head, {}), tail: value} if tail else value
        value = {**inner, head: below}
    elif rest:
        raise ValueError(f"{dotted}: {key} holds no keys of its own")
    return dataclasses.replace(config, **{key: _typed(hints[key], value, key)})  # type: ignore[type-var]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type that a field declares; JSON knows neither tuples nor dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and not isinstance(value, hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: got {value!r}, wanted the keys of {hint.__name__}")
        return from_dict(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        return _one_of(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise unknown_name(where, str(value), [str(a) for a in args])
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return _tuple_of(args, value, where)
    if origin is dict and isinstance(value, Mapping):
        return {k: _typed(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _single(hint, value, where)


def _one_of(arms: tuple[Any, ...], value: Any, where: str) -> Any:
    """Return `value` as the first type of a union that takes it."""
    if value is None and type(None) in arms:
        return None
    errors = []
    for arm in (a for a in arms if a is not type(None)):
        try:
            return _typed(arm, value, where)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError("; ".join(errors) or f"{where}: got {value!r}")


def _tuple_of(args: tuple[Any, ...], values: Sequence[Any], where: str) -> tuple[Any, ...]:
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(values)
    if len(values) != len(args):
        raise ValueError(f"{where}: got {len(values)} values, wanted {len(args)}")
    return tuple(_typed(a, v, where) for a, v in zip(args, values, strict=True))


def _single(hint: Any, value: Any, where: str) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any or (isinstance(hint, type) and isinstance(value, hint) and not (hint is int and value is True)):
        return value
    name = getattr(hint, "__name__", str(hint))
    raise ValueError(f"{where}: got {value!r}, wanted {name}")
