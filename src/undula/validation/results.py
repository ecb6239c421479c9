"""Results as JSON files: plain values, NaN and infinity as null, whole or absent."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from undula.files import write_flushed


def plain(value: Any) -> Any:
    """Return nested values as JSON knows them; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def save_results(results: Mapping[str, Any], output_dir: str | Path, kind: str, timestamp: str | None = None) -> Path:
    """Write `{kind}_{timestamp}.json` with the results and their time; return its path.

    Raises:
        ValueError: for a timestamp that is no part of a file's name.
    """
    now = datetime.now(UTC)
    stamp = now.strftime("%Y%m%d_%H%M%S") if timestamp is None else timestamp
    if not stamp or not stamp.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"timestamp={stamp!r}; wanted letters, digits, - and _ alone")
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}_{stamp}.json"
    content = {"validation_timestamp": now.isoformat(), "validation_results": plain(results)}
    write_flushed(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path
