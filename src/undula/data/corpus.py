"""Where texts come from: the embedded corpus, one file, or a folder; each becomes a list of documents."""

import logging
from pathlib import Path

from undula.names import unknown_name
from undula.optional import late_import

PYTHON_DOCS = "python-docs"

logger = logging.getLogger(__name__)


def load_documents(source: str) -> list[str]:
    """Return the documents of a corpus, in an order that depends on their names alone.

    `python-docs` is the language reference that the running CPython carries, one document per topic (its text
    differs a little between Python versions). A file is one document: nothing inside it is taken for a border.
    A folder gives one document per text file below it, sorted by path; hidden files and folders, empty files
    and files that are not UTF-8 text are left out. Line ends stay as they are; a byte order mark goes.

    Args:
        source: `python-docs`, or the path of a file or folder. A path wins by being written as one (`./python-docs`).

    Raises:
        FileNotFoundError: when there is no such corpus, file or folder.
        ValueError: when the file is empty or not text, or the folder has no text file.
    """
    if source == PYTHON_DOCS:
        topics: dict[str, str] = late_import("pydoc_data.topics").topics
        return [topics[name] for name in sorted(topics)]
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise FileNotFoundError(
            f"data source {source!r}: no such file or folder, and {unknown_name('corpus', source, [PYTHON_DOCS])}"
        )
    return [read_text(path)]


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


def _load_folder(folder: Path) -> list[str]:
    files = [p for p in folder.rglob("*") if p.is_file() and not _hidden(p.relative_to(folder))]
    files.sort(key=lambda p: p.relative_to(folder).as_posix())
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
