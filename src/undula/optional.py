"""The one place where a module is imported late: optional extras, and heavy ones that few calls need."""

import importlib
from types import ModuleType

EXTRAS = {
    "datasets": "datasets",
    "imageio_ffmpeg": "animation",
    "ptwt": "bench",
    "pyarrow": "datasets",
    "pytorch_wavelets": "bench",
    "sacrebleu": "translation",
    "sklearn": "vision",
    "soundfile": "audio",
    "trackio": "trackers",
    "tensorboard": "trackers",
    "x_transformers": "bench",
}


def late_import(name: str) -> ModuleType:
    """Import a module by name when it is needed.

    Raises:
        ImportError: when it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
            raise
        extra = EXTRAS.get(name.split(".")[0])
        fix = f"pip install 'undula[{extra}]'" if extra else f"pip install {name.split('.')[0]}"
        raise ImportError(f"{name} is not installed; {fix}", name=error.name) from error
