"""Files whose folder or name is their label, and rows whose columns are inputs and labels."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from undula.data.example import Content, Example, Found, Target
from undula.data.labelled_config import LabelledDataConfig
from undula.data.tables import HELD_OUT, TRAIN, Row, read_tables, values_of


def labelled_files(config: LabelledDataConfig, suffixes: Sequence[str]) -> list[tuple[str, Path, Target]]:
    """Return name, path and label of the files below a folder, in the order of their names; hidden ones are left out.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when a name does not match `label_pattern`, a file lies in no class's folder, or a class is empty.
    """
    folder = Path(config.source).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; data.source names one with files, or a folder for each class")
    files = [path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not _hidden(path, folder)]
    files.sort(key=lambda path: path.relative_to(folder).as_posix())
    if not files:
        raise ValueError(f"{folder} holds no file that ends with {', '.join(suffixes)}")
    if not config.label_pattern:
        with_files = {path.relative_to(folder).parts[0] for path in files}
        empty = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != "." and p.name not in with_files)
        if empty:
            raise ValueError(f"class {empty[0]!r} of {folder} has no file; fill or remove its folder")
    return [
        (path.relative_to(folder).as_posix(), path, target_of(_label(path, folder, config), config, str(path)))
        for path in files
    ]


def labelled_rows(config: LabelledDataConfig, read: Callable[[Any, Any, str], tuple[Content, Target]]) -> Found:
    """Return inputs and labels of the rows of tables, by their splits.

    Args:
        config: names the columns.
        read: from the values of both columns, and where they stand, to what is read and what is told.

    Raises:
        ValueError: for a missing column, or what `read` refuses.
    """
    splits = {name: _examples(rows, config, read, name) for name, rows in read_tables(config.source).items()}
    return Found(splits["all"] if "all" in splits else splits[TRAIN[0]], splits.get(HELD_OUT[0]))


def _examples(
    rows: list[Row], config: LabelledDataConfig, read: Callable[[Any, Any, str], tuple[Content, Target]], split: str
) -> list[Example]:
    found = []
    for number, row in enumerate(rows, 1):
        where = f"{config.source}, row {number}" + ("" if split == "all" else f" of {split}")
        value, label = values_of(row, config.column_names, where)
        found.append(Example(where, *read(value, label, where), str(row.get("document") or "")))
    return found


def target_of(value: Any, config: LabelledDataConfig, where: str) -> Target:
    """Return a class or a number as it stands in a table or a name.

    Raises:
        ValueError: for an empty class, or what is no finite number.
    """
    if config.target == "number":
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not abs(number) < float("inf"):
            raise ValueError(f"{where}: value {value!r}; wanted a finite number")
        return number
    name = str(value).strip()
    if not name:
        raise ValueError(f"{where}: the label is empty; give one, or leave it out")
    return name


def _label(path: Path, folder: Path, config: LabelledDataConfig) -> str:
    relative = path.relative_to(folder)
    if not config.label_pattern:
        if len(relative.parts) < 2:
            raise ValueError(
                f"{path} lies in no folder of a class; put it into one, or say data.label_pattern, such as ^([^_]+)_"
            )
        return relative.parts[0]
    match = re.search(config.label_pattern, path.name)
    if match is None or match[1] is None:
        raise ValueError(f"the name of {path} does not match data.label_pattern={config.label_pattern!r}")
    return match[1]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
