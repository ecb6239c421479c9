"""Debug mode, by environment: more is told, and a batch that fails is kept."""

import os

OFF = ("", "0", "false", "no")


def debugging() -> bool:
    """Return whether UNDULA_DEBUG or SPECTRALLLM_DEBUG is set; SPECTRALLLM_DISABLE_DEBUG overrules both."""
    return not _set("SPECTRALLLM_DISABLE_DEBUG") and (_set("UNDULA_DEBUG") or _set("SPECTRALLLM_DEBUG"))


def _set(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in OFF
