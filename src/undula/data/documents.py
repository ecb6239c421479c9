"""Documents that are too many for memory: Parquet files, read again each time they are gone through."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from undula.files import flush
from undula.optional import late_import

COLUMN = "text"
"""The column that is read; FineWeb and most text data sets name it so."""
ROWS = 512
"""Documents in memory at a time; at the few kB of a web page, some MB."""


@dataclass(frozen=True)
class ParquetDocuments:
    """The non-empty texts in the column `text` of Parquet files, one document a row, in the order of the files.

    It holds no text: every loop over it reads the files again.

    Args:
        files: Parquet files.
        max_bytes: see `within`.
    """

    files: tuple[Path, ...]
    max_bytes: int | None = None

    def __iter__(self) -> Iterator[str]:
        return within(chain.from_iterable(map(_texts, self.files)), self.max_bytes)


Documents = list[str] | ParquetDocuments
"""A corpus: texts in memory, or in files that are read again and again."""


def open_parquet(files: Iterable[Path], max_bytes: int | None = None) -> ParquetDocuments:
    """Return the documents of Parquet files; schemas and the first document are looked at, the rest is not read.

    Raises:
        ImportError: when pyarrow is not installed.
        ValueError: when a file is not Parquet or has no text column, no row has text, or the first document is
            larger than `max_bytes`.
    """
    documents = ParquetDocuments(tuple(files), max_bytes)
    for path in documents.files:
        _check_column(path)
    if next(iter(documents), None) is None:
        raise ValueError(f"{documents.files[0]}: no row has text in column {COLUMN!r}; give files with text")
    return documents


def write_parquet(documents: Iterable[str], path: Path) -> None:
    """Write documents to a Parquet file that appears whole or, when anything fails, not at all.

    Pages carry checksums, so that a damaged file is an error when it is read and never another text.
    """
    pyarrow, parquet = late_import("pyarrow"), late_import("pyarrow.parquet")
    schema = pyarrow.schema([(COLUMN, pyarrow.string())])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetching-") as scratch:
        written = Path(scratch) / path.name
        with parquet.ParquetWriter(written, schema, compression="zstd", write_page_checksum=True) as writer:
            left = iter(documents)
            while part := list(islice(left, ROWS)):
                writer.write_table(pyarrow.table({COLUMN: part}, schema=schema))
        flush(written)
        if not path.exists():  # else another process was faster, and may be reading what it wrote
            written.rename(path)
            flush(path.parent)


def within(documents: Iterable[str], max_bytes: int | None) -> Iterator[str]:
    """Yield the first documents, whole, that have at most `max_bytes` bytes of UTF-8 together; None: all.

    Raises:
        ValueError: when the first one is larger than that.
    """
    taken = 0
    for text in documents:
        if max_bytes is not None:
            size = len(text.encode())
            if size > max_bytes and taken == 0:
                raise ValueError(f"max_bytes={max_bytes}; the first document alone has {size} bytes: allow more")
            taken += size
            if taken > max_bytes:
                return
        yield text


def _texts(path: Path) -> Iterator[str]:
    parquet = late_import("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=[COLUMN], use_threads=False):
                yield from (text for text in batch.column(0).to_pylist() if text and not text.isspace())
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path} ({error}); it is damaged: remove it and fetch it again") from error


def _check_column(path: Path) -> None:
    pyarrow, parquet = late_import("pyarrow"), late_import("pyarrow.parquet")
    try:
        schema = parquet.read_schema(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a whole Parquet file ({error}); fetch or write it again") from error
    if COLUMN not in schema.names:
        raise ValueError(f"{path} has the columns {', '.join(schema.names)}; wanted one named {COLUMN!r}: rename it")
    kind = schema.field(COLUMN).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise ValueError(f"{path}: column {COLUMN!r} holds {kind}; wanted strings: convert it")
