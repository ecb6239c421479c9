"""The type checker that runs beneath all of undula during tests."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype


class _AnyInstance(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return True


class _SelfType(metaclass=_AnyInstance):
    """Stands for Self, which beartype understands in decorated classes alone; the hook decorates methods one by one."""


CONF = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: _SelfType}))


def checked(function: Any) -> Any:
    """Return the function with its arguments and result checked at each call."""
    return beartype(function, conf=CONF)
