"""The type checker that runs beneath all of undula during tests.

Checking takes two thirds of the time of a test that calls small functions ten thousand times. So the first calls of
each test are checked, which is all of most tests, and the rest of the others runs unchecked.
"""

import functools
from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import config


class _AnyInstance(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return True


class _SelfType(metaclass=_AnyInstance):
    """Stands for Self, which beartype understands in decorated classes alone; the hook decorates methods one by one."""


CONF = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: _SelfType}))


CHECKS = 2000
"""How many checks a test has: two for each call of a function that says what it returns."""

_left = CHECKS


def check_again() -> None:
    """Begin a test: the next calls are checked."""
    global _left
    _left = CHECKS
    config.update("jaxtyping_disable", False)


def checked(function: Any) -> Any:
    """Return the function with its arguments and result checked at each call, until a test has had its checks."""
    check = beartype(function, conf=CONF)

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        global _left
        _left -= 1
        if _left <= 0:
            config.update("jaxtyping_disable", True)
        return check(*args, **kwargs)

    return counted
