"""Films: what is written is what was given, and an old file is safe until the new one is whole."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from undula.experiments.film import check_film, write_film

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def pictures(height=64, width=96):
    for colour in COLOURS:
        yield np.full((height, width, 3), colour, dtype=np.uint8)


def test_gif(tmp_path):
    path = tmp_path / "new" / "film.gif"
    assert write_film(pictures(), path, 4.0) == 3
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["duration"], film.info["loop"]) == (3, (96, 64), 250, 0)
        for number, colour in enumerate(COLOURS):
            film.seek(number)
            assert film.convert("RGB").getpixel((5, 5)) == colour
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]


def test_mp4_and_odd_sizes(tmp_path):
    path = tmp_path / "film.mp4"
    assert write_film(pictures(65, 99), path, 2.0) == 3
    read = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(read, check=True, capture_output=True)
    assert b"98x64" in done.stderr
    assert b"2 fps" in done.stderr
    frames = np.frombuffer(done.stdout, dtype=np.uint8).reshape(3, 64, 98, 3)
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(frame.mean((0, 1)) - colour).max() < 20


@pytest.mark.parametrize("name", ["film.avi", "film"])
def test_other_kinds_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="unknown kind of film"):
        check_film(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_nothing_to_write_or_a_rate_of_zero(suffix, tmp_path):
    with pytest.raises(ValueError, match="no picture to write"):
        write_film(iter([]), tmp_path / f"film{suffix}", 5.0)
    with pytest.raises(ValueError, match="fps=0.0; wanted a positive number"):
        write_film(pictures(), tmp_path / f"film{suffix}", 0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_an_old_film_outlives_a_failure(suffix, tmp_path):
    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"old")

    def broken():
        yield from pictures()
        raise RuntimeError("out of ink")

    with pytest.raises(RuntimeError, match="out of ink"):
        write_film(broken(), path, 5.0)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_missing_ffmpeg_is_said_with_the_fix(tmp_path, monkeypatch):
    def none():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(OSError, match=r"no ffmpeg was found: install it, .*IMAGEIO_FFMPEG_EXE, or ask for a \.gif"):
        check_film(tmp_path / "film.mp4")
    check_film(tmp_path / "film.gif")


def test_ffmpeg_of_the_package_runs():
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-version"], check=True, capture_output=True, text=True)
    assert said.stdout.startswith("ffmpeg version")
