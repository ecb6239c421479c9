"""The first part of a text data set of the Hugging Face hub, fetched once into a file."""

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from undula.data.documents import COLUMN, within, write_parquet
from undula.optional import late_import

FINEWEB = "fineweb"
NAMED = {FINEWEB: "hub:HuggingFaceFW/fineweb-edu:sample-10BT"}
"""Data sets with a short name."""
PREFIX = "hub:"
PATTERN = re.compile(r"hub:(?P<dataset>\w[\w.-]*/\w[\w.-]*)(?::(?P<config>\w[\w.-]*))?")

logger = logging.getLogger(__name__)


def is_hub(source: str) -> bool:
    """Return whether a data source is a data set of the hub."""
    return source in NAMED or source.startswith(PREFIX)


def fetch(source: str, max_bytes: int | None, folder: Path) -> Path:
    """Return a Parquet file with the first documents of a data set, streamed from the hub when it is not there yet.

    A file that is there is never fetched again, so a run can be scored and resumed without a network, on the text
    that it was trained on. Remove the file to have the data set's present state.

    Args:
        source: `fineweb`, or `hub:OWNER/NAME` or `hub:OWNER/NAME:CONFIG`; its split `train` is read.
        max_bytes: bytes of text to take, in whole documents.
        folder: where fetched files are kept.

    Raises:
        ImportError: when the library datasets is not installed.
        ValueError: for a malformed name, a missing `max_bytes`, or a data set without texts in a column `text`.
        OSError: when the data set cannot be reached; nothing is left behind.
    """
    match = PATTERN.fullmatch(NAMED.get(source, source))
    if match is None:
        raise ValueError(
            f"data source {source!r}; wanted hub:OWNER/NAME or hub:OWNER/NAME:CONFIG, such as {NAMED[FINEWEB]}"
        )
    if max_bytes is None:
        raise ValueError(
            f"data source {source!r} may be very large; say how many bytes of its text to take, such as "
            "data.max_bytes=1000000000"
        )
    dataset, config = match["dataset"], match["config"]
    name = "--".join([*dataset.split("/"), *([config] if config else []), str(max_bytes)])
    path = folder / f"{name}.parquet"
    if not path.exists():
        logger.info("fetching %d bytes of %s into %s", max_bytes, source, path)
        write_parquet(within(_texts(dataset, config, source), max_bytes), path)
    return path


def _texts(dataset: str, config: str | None, source: str) -> Iterator[str]:
    """Yield the non-empty texts of a data set as they arrive."""
    library = late_import("datasets")
    found = False
    try:
        rows: Iterable[dict[str, Any]] = library.load_dataset(dataset, config, split="train", streaming=True)
        for row in rows:
            text = row.get(COLUMN)
            if not isinstance(text, str | None) or COLUMN not in row:
                raise ValueError(f"it has the columns {', '.join(row)}; wanted strings in one named {COLUMN!r}")
            if text and not text.isspace():
                found = True
                yield text
        if not found:
            raise ValueError(f"no row has text in column {COLUMN!r}")
    except OSError as error:
        raise OSError(
            f"cannot read data source {source!r} ({error}); check its name and the network (HF_HUB_OFFLINE unset, "
            "HF_TOKEN for private ones), or give Parquet files that you have: data.source=FOLDER"
        ) from error
    except ValueError as error:
        raise ValueError(f"cannot use data source {source!r}: {error}") from error
