"""Rows of named values: from CSV, JSON lines and Parquet files, folders of them, and data sets of the hub."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from undula.data.corpus import read_text
from undula.data.hub import PATTERN, PREFIX
from undula.optional import late_import

Row = dict[str, Any]

TABLES = (".csv", ".jsonl", ".parquet")
"""What the names of tables end with."""

TRAIN, HELD_OUT = ("train",), ("validation", "val", "test")
"""Names of splits; of those that are held out the first that is there is taken."""


def is_table(source: str) -> bool:
    """Return whether a source is a table: a file, a folder with a file train.* of that kind, or of the hub."""
    path = Path(source).expanduser()
    return source.startswith(PREFIX) or path.suffix in TABLES or (path.is_dir() and bool(_split_files(path, TRAIN)))


def read_tables(source: str) -> dict[str, list[Row]]:
    """Return the rows of a source by split; those of a single file, which has none, by the name `all`.

    Args:
        source: `hub:OWNER/NAME[:CONFIG]`; a file; or a folder with files such as train.csv and test.csv.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: when Parquet or the hub is to be read, and the extra `datasets` is not installed.
        OSError: when the data set cannot be reached.
        ValueError: for a malformed name, or a file that cannot be read or holds no row.
    """
    if source.startswith(PREFIX):
        return _from_hub(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"no {path}; give a file that ends with {', '.join(TABLES)}, or a folder of them")
    if path.is_file():
        return {"all": _rows(path)}
    found = {}
    for names in (TRAIN, HELD_OUT):
        files = _split_files(path, names)
        if files:
            found[names[0]] = [row for file in files for row in _rows(file)]
    return found


def values_of(row: Row, columns: Sequence[str], where: str) -> list[Any]:
    """Return the values of a row's columns.

    Raises:
        ValueError: when there is no such column, or nothing in it; says which there are.
    """
    missing = [name for name in columns if row.get(name) is None]
    if missing:
        raise ValueError(
            f"{where} has nothing in column {missing[0]!r}; it has the columns {', '.join(map(str, row))}; "
            "name the right ones in data.columns"
        )
    return [row[name] for name in columns]


def _split_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of the first split that is there: train.csv, or several such as train-00000-of-00002.parquet."""
    files = sorted(path for path in folder.iterdir() if path.suffix in TABLES)
    for name in names:
        of_split = [path for path in files if path.stem == name or path.stem.startswith(f"{name}-")]
        if of_split:
            return of_split
    return []


def _rows(path: Path) -> list[Row]:
    rows = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[path.suffix](path)
    if not rows:
        raise ValueError(f"{path} holds no row; give a file with some")
    return rows


def _csv(path: Path) -> list[Row]:
    # No end of a line is touched: it may stand inside of quotes.
    lines = read_text(path).splitlines(keepends=True)
    rows = csv.DictReader(lines, strict=True)
    try:
        return list(rows)
    except csv.Error as error:
        raise ValueError(f"{path}, line {rows.line_num} is not CSV ({error}); repair it") from error


def _json_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error}); repair it") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number} holds a {type(row).__name__}; wanted names and values in braces")
        rows.append(row)
    return rows


def _parquet(path: Path) -> list[Row]:
    library, arrow = late_import("datasets"), late_import("pyarrow.parquet")
    try:
        # In the library's hands, not Arrow's alone: names of classes and kinds of columns stand in its own notes.
        return _plain(library.Dataset(arrow.read_table(path)), library)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({error}); repair it or leave it out") from error


def _from_hub(source: str) -> dict[str, list[Row]]:
    match = PATTERN.fullmatch(source)
    if match is None:
        raise ValueError(f"data source {source!r}; wanted hub:OWNER/NAME or hub:OWNER/NAME:CONFIG")
    library = late_import("datasets")
    try:
        splits = library.load_dataset(match["dataset"], match["config"])
    except OSError as error:
        raise OSError(
            f"cannot read data source {source!r} ({error}); check its name and the network (HF_HUB_OFFLINE unset, "
            "HF_TOKEN for private ones), or give Parquet files that you have"
        ) from error
    found = {}
    for names in (TRAIN, HELD_OUT):
        name = next((name for name in names if name in splits), None)
        if name is not None:
            found[names[0]] = _plain(splits[name], library)
    if TRAIN[0] not in found:
        raise ValueError(f"{source} has the splits {', '.join(splits)}; wanted one called {TRAIN[0]}")
    return found


def _plain(dataset: Any, library: Any) -> list[Row]:
    """All rows; classes by name, recordings as bytes, which the reader of recordings here takes."""
    for name, feature in dataset.features.items():
        if isinstance(feature, library.Audio):
            dataset = dataset.cast_column(name, library.Audio(decode=False))
    named = dict(_class_names(dataset.features, library))
    return [{k: named[k](v) if k in named and v is not None else v for k, v in row.items()} for row in dataset]


def _class_names(features: Any, library: Any) -> Iterator[tuple[str, Any]]:
    for name, feature in features.items():
        inner: Any = getattr(feature, "feature", None)
        if isinstance(feature, library.ClassLabel):
            yield name, feature.int2str
        elif isinstance(inner, library.ClassLabel):
            yield name, inner.int2str
