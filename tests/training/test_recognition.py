"""The run of an encoder that tells classes, tags or numbers: how it learns, goes on, is scored and asked."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from transformers import pipeline

from tests.data.test_audio import write_wav
from tests.data.test_labelled import images, write_jsonl
from tests.trained import timeless
from undula.data.augment_config import AugmentConfig
from undula.data.labelled import Item, Labelled, prepare_labelled
from undula.data.labelled_config import LabelledDataConfig
from undula.data.labelled_sounds import read_recording
from undula.experiments import recognition as runs
from undula.experiments.run import read_config
from undula.mixers.spectral_frames import SpectralFrames
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig
from undula.nn.aux_loss import summed_aux_loss
from undula.optim.config import OptimConfig
from undula.recipes.recognition import RECOGNITION_RECIPES
from undula.training.recognition import RecognitionTask
from undula.training.recognition_config import RecognitionTrainConfig
from undula.training.state import load_tree
from undula.validation.recognition import ClassScore, NumberScore, evaluate_recogniser


def stack(mixer):
    return BackboneConfig(d_model=12, num_layers=1, num_heads=2, mixers=(mixer,), d_ff=16, dropout=0.1)


def sounds(folder):
    """Low tones and high ones."""
    draw = np.random.default_rng(0)
    for label, frequency in (("low", 100), ("high", 700)):
        for i in range(8):
            t = np.arange(400 + 10 * i) / 2000
            tone = 0.5 * np.sin(2 * np.pi * frequency * t) + 0.01 * draw.standard_normal(len(t))
            write_wav(folder / label / f"{i}.wav", tone, rate=2000)
    return str(folder)


def texts(target):
    words = ("cat", "dog", "cow")
    if target == "tags":
        return [{"tokens": ["a", words[i % 3], f"{i}"], "tags": ["D", "N", "Z"]} for i in range(30)]
    if target == "number":
        return [{"text": "x" * (i % 5) + "y" * (4 - i % 5) + f" {i}", "value": 100.0 + i % 5} for i in range(30)]
    return [{"text": f"the {words[i % 3]} {i}", "label": words[i % 3]} for i in range(30)]


def tiny(kind, folder, **changes):
    model, data = ModelConfig(family="spectral", backbone=stack("spectral_gate")), {"kind": "text", "target": kind}
    augment = AugmentConfig()
    if kind == "image":
        model = VisionEncoderConfig(patch_size=2, position_octaves=2, backbone=stack("grid_filter"))
        data = {"kind": "image", "source": images(folder / "images", count=8)}
        augment = AugmentConfig(shift=0.5, rotation=9.0)
    elif kind == "sound":
        model = AudioEncoderConfig(num_mels=8, halvings=1, backbone=stack("spectral_gate"))
        data = {"kind": "sound", "source": sounds(folder / "sounds")}
        augment = AugmentConfig(delay=0.02, noise=0.1, mask_mels=0.2, mask_frames=0.2)
    else:
        data["source"] = write_jsonl(folder / "texts.jsonl", texts(kind))
    values = {
        "name": "tiny",
        "model": model,
        "data": LabelledDataConfig(**data),
        "augment": augment,
        "optim": OptimConfig(learning_rate=1e-2, warmup_steps=2),
        "label_smoothing": 0.0 if kind == "number" else 0.1,
        "steps": 6,
        "batch_size": 8,
        "log_every": 1,
        "eval_every": 3,
        "save_every": 2,
        "device": "cpu",
    }
    return RecognitionTrainConfig(**values | changes)


@pytest.mark.parametrize("kind", ["class", "image", "sound"])
def test_a_resumed_run_equals_one_that_was_not_stopped(kind, tmp_path):
    config, told = tiny(kind, tmp_path), []
    before = torch.get_rng_state()
    whole = runs.train_recogniser(config, tmp_path / "whole", progress=told.append)
    assert torch.equal(torch.get_rng_state(), before)

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.train_recogniser(config, tmp_path / "parts", progress=stop)
    parts = runs.train_recogniser(config, tmp_path / "parts", resume=True)
    assert timeless(parts.folder) == timeless(whole.folder)
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = (
            (load_tree(run.checkpoint / name) for run in (whole, parts))
            if "opt" in name
            else ((run.checkpoint / name).read_bytes() for run in (whole, parts))
        )
        assert str(first) == str(second)
    assert (told[0].step, told[-1].step, told[-1].validation) == (0, 6, whole.validation)
    assert json.loads((whole.folder / "config.json").read_text())["task"] == "recognition"
    # What is loaded has the score that was written last.
    assert runs.evaluate_recognition_run(whole.folder) == whole.validation
    scored = [line for line in timeless(whole.folder) if any(key.startswith("validation_") for key in line)]
    assert [line["step"] for line in scored] == [3, 6]
    assert {f"validation_{k}": v for k, v in whole.validation.to_dict().items()}.items() <= scored[-1].items()
    with pytest.raises(ValueError, match="is the run of a recogniser, not of a language model"):
        read_config(whole.folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, results = tmp_path_factory.mktemp("trained"), {}
    for kind in ("class", "tags", "number", "sound"):
        config = tiny(
            kind,
            folder / f"{kind}-data",
            steps=40,
            eval_every=40,
            save_every=40,
            batch_size=16,
            augment=AugmentConfig(),
        )
        results[kind] = runs.train_recogniser(config, folder / kind)
    return results


@pytest.mark.parametrize("kind", ["image", "sound"])
def test_a_pipeline_reads_files_as_the_run_does(kind, tmp_path):
    result = runs.train_recogniser(tiny(kind, tmp_path, steps=2, eval_every=2), tmp_path / "run")
    file = next((tmp_path / f"{kind}s").glob("*/*.*"))
    told = runs.recognise(runs.load_recogniser(result.folder), str(file))
    sound = {"raw": read_recording(file, result.config.data).numpy(), "sampling_rate": 2000} if kind == "sound" else {}
    task = "image-classification" if kind == "image" else "audio-classification"
    answers = pipeline(task, str(result.checkpoint))(sound or str(file), top_k=2)
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(told, rel=1e-5)


def test_it_learns_what_can_be_told(trained):
    assert {kind: result.validation.count for kind, result in trained.items()} == {
        "class": 6,
        "tags": 18,
        "number": 6,
        "sound": 4,
    }
    assert min(result.validation.headline for result in trained.values()) > 0.9
    for kind in ("tags", "number"):
        assert runs.evaluate_recognition_run(trained[kind].folder) == trained[kind].validation


def test_a_model_is_asked(trained):
    loaded = {kind: runs.load_recogniser(result.folder) for kind, result in trained.items()}
    told = runs.recognise(loaded["class"], "the dog 77")
    assert next(iter(told)) == "dog"
    assert list(told.values()) == sorted(told.values(), reverse=True)
    assert sum(told.values()) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="the text is empty"):
        runs.recognise(loaded["class"], " ")
    assert runs.recognise(loaded["tags"], "a cow 5") == [("a", "D"), ("cow", "N"), ("5", "Z")]
    assert runs.recognise(loaded["number"], "xxxx 7") == pytest.approx(104, abs=0.7)
    path = trained["sound"].folder.parent / "sound-data" / "sounds" / "low" / "0.wav"
    assert next(iter(runs.recognise(loaded["sound"], str(path)))) == "low"
    with pytest.raises(FileNotFoundError, match="give the path of an image or a recording"):
        runs.recognise(loaded["sound"], "low")


def test_other_data_are_scored_and_refused_for_training(tmp_path):
    config = tiny("class", tmp_path, steps=2)
    run = runs.train_recogniser(config, tmp_path / "run").folder
    other = write_jsonl(tmp_path / "other.jsonl", texts("class")[:9])
    assert runs.evaluate_recognition_run(run, other).count == 9
    write_jsonl(tmp_path / "texts.jsonl", texts("class")[:29])
    with pytest.raises(ValueError, match="the data are no longer those that .*step-2 was trained on"):
        runs.train_recogniser(config, run, resume=True)
    with pytest.raises(ValueError, match="the data are no longer those"):
        runs.evaluate_recognition_run(run)
    unknown = write_jsonl(tmp_path / "unknown.jsonl", [{"text": "a", "label": "fox"}])
    with pytest.raises(ValueError, match="has the label 'fox', which training did not have"):
        runs.evaluate_recognition_run(run, unknown)


def test_the_loss_is_smoothed_and_leaves_out_what_has_no_tag(tmp_path):
    config = tiny("tags", tmp_path, label_smoothing=0.3)
    data = prepare_labelled(config.data)
    model = runs.build_recogniser(runs.resolved_config(config, data), data).eval()
    task = RecognitionTask(config, data)
    batch = task.batch([task.items(8)[i] for i in range(4)])
    nats = -model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
    asked = batch["labels"] >= 0
    assert int(asked.sum()) == 12
    label = nats.gather(-1, batch["labels"].clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(task.loss(model, batch), (0.7 * label + 0.3 * nats.mean(-1))[asked].mean())


def test_uneven_gates_are_part_of_the_loss(tmp_path):
    """What a layer adds to the loss is learned by, not only computed: gates of spectral frames tell their entropy."""
    config = dataclasses.replace(tiny("class", tmp_path), label_smoothing=0.0)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, backbone=dataclasses.replace(stack("spectral_frames"), dropout=0)),
    )
    data = prepare_labelled(config.data)
    model = runs.build_recogniser(runs.resolved_config(config, data), data)
    mixer = next(module for module in model.modules() if isinstance(module, SpectralFrames))
    mixer.selector = None  # its choice is drawn anew in each pass
    task = RecognitionTask(config, data)
    batch = task.batch([task.items(8)[i] for i in range(8)])
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    plain, uneven = torch.nn.functional.cross_entropy(logits, batch["labels"]), summed_aux_loss(model)
    assert uneven is not None
    assert uneven > 1e-6
    gradients = torch.autograd.grad(uneven, list(mixer.gating.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().max() > 0 for g in gradients)
    torch.testing.assert_close(task.loss(model, batch), plain + uneven)


def test_numbers_are_learned_in_units_of_their_spread(tmp_path):
    config = tiny("number", tmp_path)
    data = prepare_labelled(config.data)
    model = runs.build_recogniser(runs.resolved_config(config, data), data).eval()
    task = RecognitionTask(config, data)
    batch = task.batch([task.items(8)[i] for i in range(8)])
    told = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    assert float(told.detach().mean()) == pytest.approx(data.target_scale[0], abs=2 * data.target_scale[1])
    want = ((told - batch["labels"]) / data.target_scale[1]).square().mean()
    torch.testing.assert_close(task.loss(model, batch), want)


def test_gaps_are_in_training_alone(tmp_path):
    config = tiny("sound", tmp_path)
    data = prepare_labelled(config.data)
    task = RecognitionTask(config, data)
    batch = task.batch([task.items(8)[i] for i in range(4)])
    assert set(batch) == {"input_features", "attention_mask", "labels"}
    plain = RecognitionTask(dataclasses.replace(config, augment=AugmentConfig()), data)
    batch = plain.batch([plain.items(8)[i] for i in range(4)])
    assert set(batch) == {"input_values", "attention_mask", "labels"}
    # Both ways to read a recording agree where no gap is drawn.
    model = runs.build_recogniser(runs.resolved_config(config, data), data).eval()
    without = dataclasses.replace(config, augment=AugmentConfig(mask_mels=1e-9))
    task = RecognitionTask(runs.resolved_config(without, data), data)
    as_mel = task.batch([task.items(8)[i] for i in range(4)])
    torch.testing.assert_close(task.loss(model, as_mel), plain.loss(model, batch), atol=1e-5, rtol=1e-5)


def test_the_score_depends_on_no_batch_and_leaves_the_model_alone(tmp_path):
    config = tiny("class", tmp_path)
    data = prepare_labelled(config.data)
    model = runs.build_recogniser(runs.resolved_config(config, data), data).double().train()
    scores = [evaluate_recogniser(model, data.test, data, size) for size in (1, 4, 64)]
    assert model.training
    assert len({score.counts for score in scores}) == 1
    assert [score.loss for score in scores] == pytest.approx([scores[0].loss] * 3)
    logits = torch.stack([model.eval()(item.values[None]).logits[0] for item in data.test])
    truth = torch.stack([item.label for item in data.test])
    assert scores[0].accuracy == pytest.approx(float((logits.argmax(-1) == truth).double().mean()))
    want = torch.nn.functional.cross_entropy(logits, truth)
    assert scores[0].loss == pytest.approx(float(want.detach()), abs=1e-6)


def test_the_score_of_nothing_is_not_a_number():
    data = Labelled(LabelledDataConfig(), ("a", "b"), [], [], "")
    numbers = Labelled(LabelledDataConfig(target="number"), (), [], [], "")
    model = torch.nn.Linear(1, 1)
    for score in (evaluate_recogniser(model, [], data, 4), evaluate_recogniser(model, [], numbers, 4)):
        assert score.count == 0
        assert all(math.isnan(value) for value in (*score.to_dict().values(), score.headline))
    assert isinstance(score, NumberScore)
    assert str(ClassScore(4, 0.5, ((2, 1), (0, 1)))) == "accuracy 75.00%, macro F1 0.7333, 0.5000 nats"
    assert str(NumberScore(3, 0.25, 0.5)) == "R^2 0.5000, mean squared error 0.25"


def test_recipes_and_their_twins_differ_in_mixer_and_feed_forward_alone():
    configs = {name: RECOGNITION_RECIPES[name]() for name in RECOGNITION_RECIPES}
    assert {name: config.name for name, config in configs.items()} == {name: name for name in configs}
    labels = {"text": ("a", "b", "c"), "image": tuple("0123456789"), "sound": tuple("0123456789")}
    for name, twin in ((n, f"{n}_attention") for n in configs if f"{n}_attention" in configs):
        first, second = configs[name], configs[twin]
        wave = first.model.backbone
        same = dataclasses.replace(
            second.model.backbone, mixers=wave.mixers, mixer_options=wave.mixer_options, d_ff=wave.d_ff
        )
        assert dataclasses.replace(second, name=name, model=dataclasses.replace(second.model, backbone=same)) == first
        assert second.model.backbone.mixers == (("grid_attention",) if first.data.kind == "image" else ("attention",))
        empty = Labelled(first.data, labels[first.data.kind], [Item(torch.zeros(1, 8, 8), torch.tensor(0))], [], "")
        heads = []
        for config in (first, second):
            with torch.device("meta"):
                head = (runs.build_recogniser(config, empty) if config.data.kind != "text" else None) or (
                    runs.UndulaForSequenceClassification(
                        runs.UndulaEncoderConfig(model=config.model, id2label=dict(enumerate("abc")))
                    )
                )
            heads.append(sum(p.numel() for p in head.parameters()))
        assert max(heads) <= 1.03 * min(heads)
        assert max(heads) < 1e6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0; wanted a share"),
        ({"eval_batch_size": 0}, "eval_batch_size=0; wanted at least 1"),
        ({"model": VisionEncoderConfig()}, "model is a VisionEncoderConfig, data.kind is 'text'; wanted a ModelConfig"),
        ({"model": ModelConfig(context_length=9)}, "model.context_length=9 is less than data.max_tokens=256"),
        ({"augment": AugmentConfig(shift=1.0)}, "what there is for it: nothing"),
        (
            {"data": LabelledDataConfig(source="words", target="number"), "label_smoothing": 0.1},
            "label_smoothing=0.1 with data.target='number'",
        ),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RecognitionTrainConfig(name="x", **values)
