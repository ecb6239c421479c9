"""Checkpoints that are either whole or do not count.

A checkpoint is built in a folder that nobody reads, its files are flushed to the disk, the SHA-256 sums of them all are
written last, and only then it gets its name by a rename. Who loads it, checks the sums.
"""

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from undula.files import flush, sha256, sha256_sums, write_flushed

MANIFEST = "manifest.json"
LATEST = "LATEST"
STEP_FOLDER = re.compile(r"step-(\d+)")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was checked.

    Args:
        path: its folder: a Hugging Face model folder with the trainer's state.
        step: updates of the parameters that it has behind it.
        data: fingerprint of the text and tokenizer that it was trained on.
    """

    path: Path
    step: int
    data: str


def publish(built: Path, checkpoints: Path, step: int, data: str) -> Checkpoint:
    """Give a finished folder its manifest and its name `step-N`, then let LATEST name it; return the checkpoint.

    A folder that has the name already is replaced.
    """
    sums = sha256_sums(built, leave_out=MANIFEST)
    for name in sums:
        flush(built / name)
    manifest = {"step": step, "data": data, "files": sums}
    write_flushed(built / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    target = checkpoints / f"step-{step}"
    if target.exists():
        shutil.rmtree(target)
    os.replace(built, target)
    flush(checkpoints)
    # Beside `checkpoints`, so that `checkpoints/$(cat LATEST)` is a model folder for every other tool, too.
    write_flushed(checkpoints.parent / LATEST, f"{target.name}\n")
    return Checkpoint(target, step, data)


def fault(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint folder; None when it is whole."""
    if not (folder / MANIFEST).is_file():
        return f"it has no {MANIFEST}"
    try:
        sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST} cannot be read"
    for name, recorded in sums:
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != recorded:
            return f"{name} is not what was written"
    return None


def newest_whole(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a run; None when it never had one. Says which ones it passed over.

    Raises:
        ValueError: when there are checkpoints, but all are damaged.
    """
    faults = []
    for folder in reversed(step_folders(run / "checkpoints")):
        wrong = fault(folder)
        if wrong is None:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            for message in faults:
                log.warning("%s; taking %s", message, folder)
            return Checkpoint(folder, manifest["step"], manifest["data"])
        faults.append(f"checkpoint {folder} is damaged ({wrong})")
    if faults:
        raise ValueError(f"{'; '.join(faults)}; no whole one is left in {run}: start again in another folder")
    return None


def step_folders(checkpoints: Path) -> list[Path]:
    """Return the folders that have a checkpoint's name, oldest first; whether they are whole is another matter."""
    found = [p for p in checkpoints.glob("step-*") if STEP_FOLDER.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=_step)


def prune(newest: Checkpoint, keep: int) -> None:
    """Delete older checkpoints but the last `keep` - 1 before a whole one, and those after it.

    What comes after a checkpoint that has just been written is damaged: the run had to fall back behind it.
    """
    folders = step_folders(newest.path.parent)
    older = [p for p in folders if _step(p) < newest.step]
    stale = older[: max(0, len(older) - keep + 1)] + [p for p in folders if _step(p) > newest.step]
    for folder in stale:
        shutil.rmtree(folder)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
