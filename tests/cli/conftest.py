"""The small runs that all tests here may use."""

from tests.trained import plain, text, trained

__all__ = ["plain", "text", "trained"]
