"""Silence: transformers draws progress bars where we draw our own."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars in the block."""
    drawn = logging.is_progress_bar_enabled()
    if drawn:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
