"""Files that survive a crash: flushed to the disk, renamed into place, recognised by their SHA-256."""

import hashlib
import os
from pathlib import Path


def sha256_sums(folder: Path, leave_out: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by its path there, but those of one name; sorted."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != leave_out)
    return {p.relative_to(folder).as_posix(): sha256(p) for p in found}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_flushed(path: Path, text: str) -> None:
    """Write a text file so that after a crash it has either its old content or the new one, whole."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    flush(beside)
    os.replace(beside, path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Have the content of a file, or the names in a folder, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
