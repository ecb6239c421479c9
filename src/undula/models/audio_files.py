"""An audio codec as a folder: its sizes in config.json, its parameters in model.safetensors."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from undula.config import from_dict, to_dict
from undula.models.audio_codec import AudioCodec
from undula.models.config import AudioCodecConfig

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_codec(codec: AudioCodec, folder: Path) -> None:
    """Write a codec into a folder, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(to_dict(codec.config), indent=1) + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in codec.state_dict().items()}, folder / WEIGHTS)


def load_codec(folder: Path) -> AudioCodec:
    """Return the codec of a folder, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: when the folder holds none.
        ValueError: when its configuration is of something else.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} holds no codec: it lacks {CONFIG} or {WEIGHTS}")
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    codec = AudioCodec(from_dict(AudioCodecConfig, values, str(folder / CONFIG)))
    codec.load_state_dict(load_file(folder / WEIGHTS))
    return codec.eval()
