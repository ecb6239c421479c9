"""Recordings: what is read, how it is split, what training hears of it."""

import sys
import types
import wave

import numpy as np
import pytest
import torch

from undula.data import audio
from undula.data.config import AudioDataConfig


def write_wav(path, values, width=2, rate=8000):
    """Write values (C, L) between -1 and 1 as plain PCM."""
    values = np.atleast_2d(values)
    scaled = np.round(values.T * 2.0 ** (8 * width - 1)).clip(-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    if width == 1:
        content = (scaled + 128).astype(np.uint8).tobytes()
    else:
        content = scaled.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(values))
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content)
    return path


def reader(read):
    """A module that stands in for soundfile."""
    module = types.ModuleType("soundfile")
    module.read = read
    return module


def folder_of(tmp_path, count=20, length=50):
    generator = np.random.default_rng(0)
    for i in range(count):
        write_wav(tmp_path / f"{i:02}.wav", generator.uniform(-0.9, 0.9, length + i))
    return tmp_path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_every_width(tmp_path, width):
    values = np.array([[0.0, 0.5, -0.5, 0.25, -1.0, 0.99], [0.75, -0.25, 0.0, 0.0, 0.5, -0.99]])
    got, rate = audio.read_audio(write_wav(tmp_path / "a.wav", values, width, rate=11025))
    assert rate == 11025
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), values, atol=2.0 ** (1 - 8 * width) + 1e-7)


def test_channels_are_mixed_down_to_their_mean(tmp_path):
    path = write_wav(tmp_path / "a.wav", [[0.5, 0.25], [-0.25, 0.25]])
    np.testing.assert_allclose(audio.load_audio(path, 8000).numpy(), [0.125, 0.25], atol=1e-4)


def test_another_rate_is_resampled(tmp_path):
    t = np.arange(4000) / 16000
    path = write_wav(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * t), rate=16000)
    got = audio.load_audio(path, 8000)
    assert len(got) == 2000
    want = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2000) / 8000)
    assert np.abs(got.numpy() - want)[100:-100].max() < 1e-3


def test_what_is_not_plain_pcm_needs_the_extra_and_is_read_with_it(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    path.write_bytes(b"fLaC and more")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"soundfile is not installed; pip install 'undula\[audio\]'"):
        audio.read_audio(path)

    def read(name, dtype, always_2d):
        assert (name, dtype, always_2d) == (str(path), "float32", True)
        return np.array([[0.5, -0.5], [0.25, 0.75]], dtype=np.float32), 44100

    monkeypatch.setitem(sys.modules, "soundfile", reader(read))
    samples, rate = audio.read_audio(path)
    assert rate == 44100
    assert samples.tolist() == [[0.5, 0.25], [-0.5, 0.75]]

    def refuse(name, dtype, always_2d):
        raise RuntimeError("unknown format")

    monkeypatch.setitem(sys.modules, "soundfile", reader(refuse))
    with pytest.raises(ValueError, match=r"a.flac cannot be read as a recording: unknown format; repair it"):
        audio.read_audio(path)


def test_a_compressed_recording_is_read(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(800) / 8000)
    soundfile.write(tmp_path / "a.flac", np.stack([tone, -0.5 * tone], 1), 8000)
    samples, rate = audio.read_audio(tmp_path / "a.flac")
    assert (rate, samples.shape) == (8000, (2, 800))
    np.testing.assert_allclose(samples.numpy(), [tone, -0.5 * tone], atol=1e-4)


def test_a_rate_that_cannot_be_is_refused(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(9))
    content = bytearray(path.read_bytes())
    content[24:28] = bytes(4)  # where the header says the rate
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.wav says 0 samples per second; its header is damaged"):
        audio.read_audio(path)


def test_values_that_are_not_finite_and_bad_paths_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    broken = reader(lambda *a, **k: (np.array([[np.nan]], dtype=np.float32), 8000))
    monkeypatch.setitem(sys.modules, "soundfile", broken)
    with pytest.raises(ValueError, match="a.wav holds NaN or infinity"):
        audio.read_audio(path)
    with pytest.raises(FileNotFoundError, match="no recording .*b.wav"):
        audio.read_audio(tmp_path / "b.wav")
    with pytest.raises(FileNotFoundError, match="did you mean 'tones'"):
        audio.load_recordings("tone", 8000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no recording"):
        audio.load_recordings(str(tmp_path / "empty"), 8000)


def test_a_folder_is_read_in_the_order_of_names_without_hidden_and_empty_ones(tmp_path, caplog):
    write_wav(tmp_path / "b" / "2.wav", [0.5] * 3)
    write_wav(tmp_path / "a" / "1.WAV", [0.25])
    write_wav(tmp_path / ".hidden" / "3.wav", [0.5])
    write_wav(tmp_path / "c.wav", np.zeros((1, 0)))
    (tmp_path / "notes.txt").write_text("no sound")
    found = audio.load_recordings(str(tmp_path), 8000)
    assert [(r.name, len(r.samples)) for r in found] == [("a/1.WAV", 1), ("b/2.wav", 3)]
    assert "left out 1 of 3 recordings" in caplog.text


def test_whole_recordings_are_held_out_whatever_they_are_called(tmp_path):
    folder_of(tmp_path / "one")
    config = AudioDataConfig(source=str(tmp_path / "one"), val_fraction=0.2)
    sounds = audio.prepare_sounds(config, 8000)
    assert (len(sounds.train), len(sounds.held_out)) == (16, 4)
    held = {r.digest for r in sounds.held_out}
    assert not held & {r.digest for r in sounds.train}
    for number, path in enumerate(sorted((tmp_path / "one").iterdir())):
        path.rename(tmp_path / "one" / f"renamed-{97 * number % 20:02}.wav")
    again = audio.prepare_sounds(config, 8000)
    assert {r.digest for r in again.held_out} == held
    other = audio.prepare_sounds(AudioDataConfig(source=config.source, val_fraction=0.2, split_seed=1), 8000)
    assert {r.digest for r in other.held_out} != held
    assert len({s.fingerprint for s in (sounds, other)}) == 2


def test_copies_of_a_recording_stay_on_one_side(tmp_path):
    folder_of(tmp_path, 10)
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"copy-{path.name}").write_bytes(path.read_bytes())
    for seed in range(5):
        sounds = audio.prepare_sounds(AudioDataConfig(source=str(tmp_path), val_fraction=0.3, split_seed=seed), 8000)
        assert len(sounds.held_out) == 6
        assert not {r.digest for r in sounds.train} & {r.digest for r in sounds.held_out}


def test_one_recording_cannot_be_split(tmp_path):
    write_wav(tmp_path / "a.wav", [0.5] * 9)
    with pytest.raises(ValueError, match="holds 1 different recording.*wanted at least 2"):
        audio.prepare_sounds(AudioDataConfig(source=str(tmp_path)), 8000)


def test_pieces_depend_on_seed_and_index_alone_and_cover_everything():
    long, short = (torch.arange(n, dtype=torch.float32) + 1 for n in (10, 3))
    recordings = [audio.Recording("long", long), audio.Recording("short", 100 * short)]
    crops = audio.TrainCrops(recordings, 4, seed=0, length=400)
    items = torch.stack([crops[i] for i in range(400)])
    assert torch.equal(crops[7], audio.TrainCrops(recordings, 4, seed=0, length=9)[7])
    assert not all(torch.equal(crops[i], audio.TrainCrops(recordings, 4, seed=1, length=9)[i]) for i in range(9))
    starts = sorted(set(items[items[:, 0] < 100, 0].tolist()))
    assert starts == [1, 2, 3, 4, 5, 6, 7]
    short_ones = items[items[:, 0] == 100]
    assert torch.equal(short_ones, torch.tensor([100.0, 200.0, 300.0, 0.0]).expand(len(short_ones), 4))
    # Ten samples against one piece of four.
    assert 400 * 4 / 14 - 40 < len(short_ones) < 400 * 4 / 14 + 40
    with pytest.raises(IndexError):
        crops[400]


def test_tones_are_made_from_a_seed():
    first, second = (list(audio.synthetic_tones(8000, count=3, seed=s)) for s in (0, 0))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.samples, b.samples)
        assert 4000 <= len(a.samples) <= 8000
        assert 0.2 <= a.samples.abs().max() <= 0.8
    assert not torch.equal(first[0].samples[:4000], first[1].samples[:4000])
    sounds = audio.prepare_sounds(AudioDataConfig(), 8000)
    assert (len(sounds.train), len(sounds.held_out)) == (114, 6)


@pytest.mark.parametrize("values", [{"crop_length": 0}, {"val_fraction": 0.0}, {"val_fraction": 1.0}])
def test_bad_values_are_refused(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))}="):
        AudioDataConfig(**values)
