"""The verbs on recordings: train a codec, go on with it, score it, draw it."""

import numpy as np
import pytest

from tests.data.test_audio import write_wav
from undula.bench.records import read_records
from undula.bench.table import results_table
from undula.cli.main import main
from undula.cli.progress import LiveProgress
from undula.cli.sound import news, score
from undula.training.codec import CodecProgress
from undula.validation.sound import SoundScore

QUICK = ("--repeats", "1", "--warmup", "0")
SMALL = ("model.num_harmonics=4", "model.n_fft=64", "model.hop_length=16", "model.d_model=8", "model.num_layers=1")
SMALL = (*SMALL, "steps=4", "batch_size=2", "data.crop_length=200", "save_every=2", "eval_every=2", "log_every=1")
SMALL = (*SMALL, "loss.n_fft=[32,64]", "device=cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    for i in range(8):
        t = np.arange(600 + 50 * i) / 8000
        tone = 0.5 * np.sin(2 * np.pi * (200 + 100 * i) * t)
        write_wav(made / f"{i}.wav", tone + 0.01 * generator.standard_normal(len(t)))
    return made


def train(folder, out, *changes):
    return main(["train", "audio_codec", "--out", str(out), f"data.source={folder}", *SMALL, *changes])


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "codec"
    assert train(folder, out) == 0
    return out


def table_of(text):
    """The rows of a printed table by their first word or words."""
    return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in text.splitlines() if "  " in line}


def test_what_is_printed_is_the_score_of_the_held_out_recordings(folder, run, tmp_path, capsys):
    assert train(folder, tmp_path / "again") == 0
    trained = table_of(capsys.readouterr().out)
    assert trained["waves"] == "0.75 numbers per sample"
    assert main(["evaluate", str(run)]) == 0
    scored = table_of(capsys.readouterr().out)
    assert scored["SI-SDR"] == trained["SI-SDR"]
    assert "dB on average, median" in scored["SI-SDR"]
    assert scored["recordings"].startswith("1, 0.")
    assert main(["evaluate", str(run), "--data", str(folder)]) == 0
    assert table_of(capsys.readouterr().out)["recordings"].startswith("8, 0.8 seconds")


def test_an_interrupted_run_goes_on(folder, run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "stopped"

    def stop(listener, progress):
        listener.step = progress.step
        if progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveProgress, "__call__", stop)
        assert train(folder, out) == 130
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"stopped at step 3; last checkpoint: step-2. Go on with: undula train --resume {out}"
    assert main(["train", "--resume", str(out)]) == 0
    model = "checkpoints/step-4/model.safetensors"
    assert (out / model).read_bytes() == (run / model).read_bytes()


def test_a_run_is_shown(run, capsys):
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "held-out recordings, last 2 of 2 scores" in shown
    assert "whole" in shown
    assert '"audio_codec"' in shown


def test_recipes_for_sound_are_shown(capsys):
    assert main(["show", "recipes"]) == 0
    assert "audio_codec_half" in capsys.readouterr().out
    assert main(["show", "recipes", "audio_codec"]) == 0
    assert '"hop_length": 96' in capsys.readouterr().out


@pytest.mark.parametrize("with_codec", [False, True])
def test_waves_of_a_recording_are_drawn(folder, run, tmp_path, capsys, with_codec):
    more = ["--codec", str(run)] if with_codec else []
    assert main(["show", "waves", str(folder / "3.wav"), "--out", str(tmp_path / "plots"), *more]) == 0
    path = tmp_path / "plots" / "3.png"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_a_codec_is_no_language_model_and_the_reverse(run, tmp_path, capsys):
    assert main(["generate", str(run), "--prompt", "a"]) == 2
    assert f"the model of {run} writes nothing" in capsys.readouterr().err
    assert main(["audit", str(run)]) == 2
    assert "is the run of an audio codec, not of a language model" in capsys.readouterr().err
    assert main(["train", "audio_codec", "model.num_harmonicz=3", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean 'num_harmonics'" in capsys.readouterr().err


def test_news_and_score():
    at = CodecProgress(step=3, steps=9, where="cpu, float32", loss=-1.0, waveform=-1.2345, seconds_left=61.0)
    assert news(at) == "loss -1.000  12.35 dB  1:01 left" or news(at) == "loss -1.000  12.34 dB  1:01 left"
    assert news(CodecProgress(step=0, steps=9, where="cpu, float32")) == "on cpu, float32"
    scored = CodecProgress(step=3, steps=9, where="cpu", validation=SoundScore({"a": 1.0, "b": 2.0}))
    assert score(scored) == (1.5, "held-out recordings 1.50 dB SI-SDR")


def test_a_codec_becomes_a_record_and_a_table(run, tmp_path, capsys):
    assert main(["evaluate", str(run)]) == 0
    scored = table_of(capsys.readouterr().out)["SI-SDR"]
    assert main(["bench", "codec", str(run), *QUICK, "--results", str(tmp_path)]) == 0
    (record,) = read_records(tmp_path / "codec.jsonl")
    figures, config = record.figures, record.config
    assert scored.startswith(f"{figures['si_sdr']:.2f} dB on average, median {figures['si_sdr_median']:.2f}")
    assert (figures["recordings"], figures["numbers_per_sample"]) == (1, 0.75)
    assert (config["case"], config["steps"], config["of_steps"]) == ("audio_codec", 4, 4)
    assert 0 <= figures["streaming_difference"] < 1e-5
    assert config["training_seconds"] > 0
    assert figures["pieces_seconds_a_second"] > figures["whole_seconds_a_second"] > 0
    lines = results_table(tmp_path, ["codec"]).strip().splitlines()
    assert lines[0].startswith("**Codec** audio_codec, 1 held-out recordings of sounds")
    assert f" | 0.75 | {figures['si_sdr']:.2f} | {figures['si_sdr_median']:.2f} | " in lines[-1]


def test_a_run_of_a_language_model_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert main(["bench", "codec", str(tmp_path), *QUICK, "--results", str(tmp_path / "results")]) == 2
    assert "is the run of a language model, not of an audio codec" in capsys.readouterr().err
