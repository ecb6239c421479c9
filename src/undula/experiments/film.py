"""Pictures one after another in a file: MP4 through ffmpeg, GIF through Pillow."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from undula.names import unknown_name
from undula.optional import late_import

KINDS = (".mp4", ".gif")


def check_film(path: Path) -> None:
    """See that a film can be written, before anything is computed for it.

    Raises:
        ValueError: for another ending than .mp4 or .gif.
        ImportError: when the package that ships ffmpeg is not installed.
        OSError: when there is no ffmpeg all the same.
    """
    if path.suffix not in KINDS:
        raise unknown_name("kind of film", path.suffix or path.name, KINDS)
    if path.suffix == ".mp4":
        try:
            late_import("imageio_ffmpeg").get_ffmpeg_exe()
        except RuntimeError as error:
            raise OSError(
                "no ffmpeg was found: install it, name it in IMAGEIO_FFMPEG_EXE, or ask for a .gif"
            ) from error


def write_film(pictures: Iterator[np.ndarray], path: Path, frames_per_second: float) -> int:
    """Write pictures (height, width, 3) of bytes, all of one size, and return how many there were.

    The file appears when it is complete; one that stands there already is kept until then.

    Raises:
        ValueError: for another ending than .mp4 or .gif, no picture, or a rate that is not positive.
        ImportError: when the package that ships ffmpeg is not installed.
    """
    check_film(path)
    if frames_per_second <= 0:
        raise ValueError(f"fps={frames_per_second}; wanted a positive number of pictures a second")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write = _gif if path.suffix == ".gif" else _mp4
        count = write(pictures, unfinished, frames_per_second)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _gif(pictures: Iterator[np.ndarray], path: Path, frames_per_second: float) -> int:
    images = [Image.fromarray(picture).quantize(colors=128) for picture in pictures]
    if not images:
        raise ValueError("no picture to write; ask for at least one token")
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / frames_per_second), loop=0)
    return len(images)


def _mp4(pictures: Iterator[np.ndarray], path: Path, frames_per_second: float) -> int:
    first = next(pictures, None)
    if first is None:
        raise ValueError("no picture to write; ask for at least one token")
    # The codec wants even sizes; a line is cut off rather than scaled.
    height, width = (size - size % 2 for size in first.shape[:2])
    ffmpeg = late_import("imageio_ffmpeg")
    write = ffmpeg.write_frames(str(path), (width, height), fps=frames_per_second, macro_block_size=2)
    write.send(None)
    count = 0
    try:
        for picture in itertools.chain([first], pictures):
            write.send(np.ascontiguousarray(picture[:height, :width]))
            count += 1
    finally:
        write.close()
    return count
