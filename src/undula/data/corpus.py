"""Where texts come from: the embedded corpus, files, folders, data sets of the hub; each becomes documents."""

import logging
import os
from pathlib import Path

from undula.data.documents import Documents, open_parquet, within
from undula.data.hub import NAMED, fetch, is_hub
from undula.names import unknown_name
from undula.optional import late_import

PYTHON_DOCS = "python-docs"
PARQUET = ".parquet"

logger = logging.getLogger(__name__)


def load_documents(source: str, max_bytes: int | None = None, cache_dir: Path | None = None) -> Documents:
    """Return the documents of a corpus, in an order that depends on their names alone.

    `python-docs` is the language reference that the running CPython carries, one document per topic (its text
    differs a little between Python versions). A file is one document: nothing inside it is taken for a border.
    A folder gives one document per text file below it, sorted by path; hidden files and folders, empty files
    and files that are not UTF-8 text are left out. Line ends stay as they are; a byte order mark goes.

    A Parquet file has one document per row, in its column `text`; a folder with Parquet files below it has those of
    these files alone, sorted by path. They are read as they are needed and never held. A data set of the hub is
    fetched into such a file first, see `undula.data.hub.fetch`.

    Args:
        source: `python-docs`, `fineweb`, `hub:OWNER/NAME[:CONFIG]`, or the path of a file or folder. A path wins by
            being written as one (`./python-docs`).
        max_bytes: take the first documents, whole, with so many bytes of UTF-8 at most; None: all.
        cache_dir: where fetched data sets are kept; default `default_cache_dir()`.

    Raises:
        FileNotFoundError: when there is no such corpus, file or folder.
        OSError: when a data set cannot be reached.
        ImportError: when Parquet or the hub is to be read, and the extra `datasets` is not installed.
        ValueError: when the file is empty, not text or not Parquet with a column `text`, the folder has no text
            file, or `max_bytes` is too small or missing.
    """
    if source == PYTHON_DOCS:
        topics: dict[str, str] = late_import("pydoc_data.topics").topics
        return list(within((topics[name] for name in sorted(topics)), max_bytes))
    if is_hub(source):
        return open_parquet([fetch(source, max_bytes, (cache_dir or default_cache_dir()) / "hub")])
    path = Path(source).expanduser()
    if not path.exists():
        known = [PYTHON_DOCS, *NAMED]
        raise FileNotFoundError(
            f"data source {source!r}: no such file or folder, and {unknown_name('corpus', source, known)}"
        )
    files = _visible_files(path) if path.is_dir() else [path]
    tables = [file for file in files if file.suffix == PARQUET]
    if tables:
        if len(tables) < len(files):
            logger.warning("left out %d files of %s that are not Parquet", len(files) - len(tables), path)
        return open_parquet(tables, max_bytes)
    return list(within(_load_folder(path, files) if path.is_dir() else [read_text(path)], max_bytes))


def default_cache_dir() -> Path:
    """Return `$UNDULA_CACHE`, or `undula` below the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    own = os.environ.get("UNDULA_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "undula"


def read_text(path: Path) -> str:
    """Return the text of one file.

    Raises:
        ValueError: when the file is empty, holds NUL bytes or is not UTF-8.
    """
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty; give a file with text")
    if b"\0" in content:
        raise ValueError(f"{path} is not text (NUL byte at {content.index(0)}); give a UTF-8 text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ValueError(
            f"{path} is not UTF-8 text (byte {byte:#04x} at {error.start}); convert it, e.g. with iconv -t UTF-8"
        ) from error


def _visible_files(folder: Path) -> list[Path]:
    files = [p for p in folder.rglob("*") if p.is_file() and not _hidden(p.relative_to(folder))]
    return sorted(files, key=lambda p: p.relative_to(folder).as_posix())


def _load_folder(folder: Path, files: list[Path]) -> list[str]:
    documents: list[str] = []
    refused: list[str] = []
    for path in files:
        try:
            documents.append(read_text(path))
        except ValueError as error:
            refused.append(str(error))
    if not documents:
        found = f"{len(refused)} files, the first: {refused[0]}" if refused else "no file"
        raise ValueError(f"folder {folder} holds no text file ({found}); give a folder with UTF-8 text files")
    if refused:
        logger.warning("left out %d of %d files of %s; the first: %s", len(refused), len(files), folder, refused[0])
    return documents


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
