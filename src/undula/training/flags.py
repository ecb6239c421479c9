"""Commands to a running training as files: save, stop, or both.

A flag is `save_and_stop_NAME.flag` with {"pid_to_stop": 123, "timestamp": "20260101_000000", "command": "save"}; write
it under another name, then rename it. Whoever has that process id claims it by a rename, obeys, and leaves
`FLAG.completed`. A flag that cannot be obeyed is taken away and leaves `FLAG.refused`, which says why.
"""

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula.files import write_flushed

COMMANDS = ("save", "stop", "save_and_stop")
KEYS = ("pid_to_stop", "timestamp", "command")
FLAG = re.compile(r"save_and_stop_[A-Za-z0-9_-]{1,64}\.flag")
STAMP = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What becomes part of a file's name: no dot, no separator."""
LARGEST = 1 << 16
PATIENCE = 2.0
"""Seconds that a flag which is no JSON yet may still be being written."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A claimed flag.

    Args:
        name: of the flag.
        claimed: where it is now.
        timestamp: becomes part of the name of what is saved.
        command: one of `COMMANDS`.
    """

    name: str
    claimed: Path
    timestamp: str
    command: str

    @property
    def saves(self) -> bool:
        """Whether the model is to be saved."""
        return self.command != "stop"

    @property
    def stops(self) -> bool:
        """Whether the run is to end."""
        return self.command != "save"


class FlagFolder:
    """The folder where flags for this process are laid.

    Args:
        folder: where; need not exist yet.
        every: seconds between two looks.
    """

    def __init__(self, folder: Path, every: float = 0.5) -> None:
        self.folder, self.every, self.looked = folder, every, 0.0

    def next(self) -> Command | None:
        """Return the next command for this process, claimed; None when there is none, or it is not yet time to look."""
        now = time.monotonic()
        if now - self.looked < self.every or not self.folder.is_dir():
            return None
        self.looked = now
        for path in sorted(self.folder.glob("*.flag")):
            found = self._read(path)
            if found is not None:
                return found
        return None

    def complete(self, command: Command, model_path: Path | None, stats: Mapping[str, Any]) -> None:
        """Leave `FLAG.completed`, whole, and take the claimed flag away."""
        told = {"model_path": None if model_path is None else str(model_path), "timestamp": command.timestamp}
        text = json.dumps({**told, "command": command.command, "stats": stats}, allow_nan=False) + "\n"
        write_flushed(self.folder / f"{command.name}.completed", text)
        command.claimed.unlink()

    def _read(self, path: Path) -> Command | None:
        if path.is_symlink() or not path.is_file():
            return self._refuse(path, "it is no plain file")
        if not FLAG.fullmatch(path.name):
            return self._refuse(path, "its name is not save_and_stop_NAME.flag, NAME of letters, digits, - and _")
        try:
            age, text = time.time() - path.stat().st_mtime, path.read_bytes()[:LARGEST]
        except FileNotFoundError:
            return None  # another process was faster
        try:
            content = json.loads(text)
        except ValueError:
            return None if age < PATIENCE else self._refuse(path, "it is no JSON")
        fault = _fault(content)
        if fault:
            return self._refuse(path, fault)
        if content["pid_to_stop"] != os.getpid():
            return None
        claimed = path.with_name(f"{path.name}.claimed")
        try:
            path.rename(claimed)
        except FileNotFoundError:
            return None
        return Command(name=path.name, claimed=claimed, timestamp=content["timestamp"], command=content["command"])

    def _refuse(self, path: Path, why: str) -> None:
        log.warning("flag %s is refused: %s", path, why)
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", path.name)
        write_flushed(self.folder / f"{safe}.refused", json.dumps({"reason": why}) + "\n")
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f"{safe}.refused-folder"))
        else:
            path.unlink(missing_ok=True)


def _fault(content: Any) -> str | None:
    """What is wrong with a flag's content; None when it can be obeyed."""
    if not isinstance(content, dict) or set(content) != set(KEYS):
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        return f"it holds {got}; wanted the keys {', '.join(KEYS)}"
    if type(content["pid_to_stop"]) is not int:
        return f"pid_to_stop={content['pid_to_stop']!r}; wanted a process id"
    if content["command"] not in COMMANDS:
        return f"command={content['command']!r}; wanted {', '.join(COMMANDS)}"
    if not (isinstance(content["timestamp"], str) and STAMP.fullmatch(content["timestamp"])):
        return f"timestamp={content['timestamp']!r}; wanted letters, digits, - and _: it becomes part of a file's name"
    return None
