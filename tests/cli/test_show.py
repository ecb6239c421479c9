"""`undula show`: runs, waves, mixers, recipes."""

import json
import shutil

from undula.cli.main import main
from undula.config import from_dict
from undula.experiments.run import load_run
from undula.mixers.base import GRID_MIXERS, MIXERS
from undula.models.language_model import build_language_model
from undula.recipes.catalogue import RECIPES
from undula.recipes.changes import changed
from undula.recipes.wave_gpt import SIZES, wave_gpt
from undula.training.config import TrainConfig

PNG = b"\x89PNG\r\n\x1a\n"


def first_words(text):
    return [line.split()[0] for line in text.splitlines() if line[:1].strip()]


def test_every_mixer_is_shown(capsys):
    assert main(["show", "mixers"]) == 0
    shown = capsys.readouterr().out
    assert {*MIXERS, *GRID_MIXERS} <= set(first_words(shown))
    assert "num_modes=8" in shown


def test_every_recipe_is_shown(capsys):
    assert main(["show", "recipes"]) == 0
    assert set(RECIPES) <= set(first_words(capsys.readouterr().out))


def test_a_recipe_in_full_can_be_read_back(capsys):
    assert main(["show", "recipes", "attention_short_lm"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert from_dict(TrainConfig, values) == RECIPES["attention_short_lm"]()


def test_a_run_with_scores_checkpoints_and_parameters(trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "checkpoints" / "step-2" / "model.safetensors").unlink()
    assert main(["show", str(copy)]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["data.block_size"] == ["16"]
    assert rows["total"] == [f"{sum(p.numel() for p in load_run(trained).model.parameters()):,}"]
    assert rows["step-2"][2:] == ["damaged:", "model.safetensors", "is", "missing"]
    assert rows["step-4"][2:] == ["whole"]
    assert "last 2 of 2 scores" in shown


def test_waves_are_drawn_into_files(trained, tmp_path, capsys):
    out = tmp_path / "pictures"
    assert main(["show", "waves", str(trained), "--out", str(out)]) == 0
    files = sorted(path.name for path in out.iterdir())
    waves = ["spectrogram-of-a-passage.png", "spectrum-and-phases.png", "waves-of-a-passage.png"]
    assert files == ["filters-1.png", "poles-1.png", *waves]
    assert [(out / name).read_bytes()[:8] for name in files] == [PNG] * 5
    assert sorted(capsys.readouterr().out.split()) == [str(out / name) for name in files]


def test_a_model_without_waves(plain, capsys):
    assert main(["show", "waves", str(plain)]) == 2
    assert "has neither waves nor long filters" in capsys.readouterr().err
    assert main(["show", "waves"]) == 2
    assert "Say: undula show waves RUN" in capsys.readouterr().err


def test_what_is_no_run(tmp_path, capsys):
    assert main(["show", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err
    assert main(["show", "recipes", "wave"]) == 2
    assert "unknown recipe 'wave'" in capsys.readouterr().err


def test_sizes_with_true_numbers_of_parameters(capsys):
    assert main(["show", "sizes"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(SIZES) <= set(rows)
    model = changed(wave_gpt("tiny").model, {"vocab_size": 50257})
    built = sum(p.numel() for p in build_language_model(model).parameters())
    assert rows["tiny"] == ["64", "2", "4", "8", "64", "8", f"{built:,}", rows["tiny"][-1]]
