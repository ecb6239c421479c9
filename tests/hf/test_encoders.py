"""Encoders and their heads as transformers uses them: saved, loaded, trained, padded, refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from undula.data.tokenizers import byte_tokenizer
from undula.hf.encoder_configuration import UndulaAudioEncoderConfig, UndulaEncoderConfig, UndulaVisionConfig
from undula.hf.processors import UndulaImageProcessor, sound_processor
from undula.hf.sense_encoder import (
    UndulaAudioEncoderModel,
    UndulaForAudioClassification,
    UndulaForImageClassification,
    UndulaVisionModel,
    lengths_of,
)
from undula.hf.text_encoder import (
    UndulaEncoderModel,
    UndulaForSequenceClassification,
    UndulaForTokenClassification,
)
from undula.hf.told import told_loss
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig
from undula.ops.mel import log_mel

NAMES = {"id2label": {0: "no", 1: "yes", 2: "both"}, "label2id": {"no": 0, "yes": 1, "both": 2}}


def stack(mixer):
    return BackboneConfig(d_model=12, num_layers=1, num_heads=2, mixers=(mixer,), d_ff=16)


TEXT = {"model": ModelConfig(family="spectral", vocab_size=257, backbone=stack("spectral_gate")), "pad_token_id": 256}
IMAGE = {"model": VisionEncoderConfig(channels=1, patch_size=2, position_octaves=2, backbone=stack("grid_filter"))}
SOUND = {"model": AudioEncoderConfig(sample_rate=2000, num_mels=8, backbone=stack("spectral_gate"))}

HEADS = {
    "text": (UndulaForSequenceClassification, UndulaEncoderConfig, TEXT, AutoModelForSequenceClassification),
    "tokens": (UndulaForTokenClassification, UndulaEncoderConfig, TEXT, AutoModelForTokenClassification),
    "image": (UndulaForImageClassification, UndulaVisionConfig, IMAGE, AutoModelForImageClassification),
    "sound": (UndulaForAudioClassification, UndulaAudioEncoderConfig, SOUND, AutoModelForAudioClassification),
}
BASES = {
    "text": (UndulaEncoderModel, UndulaEncoderConfig, TEXT),
    "image": (UndulaVisionModel, UndulaVisionConfig, IMAGE),
    "sound": (UndulaAudioEncoderModel, UndulaAudioEncoderConfig, SOUND),
}


def inputs(name, rows=3):
    draw = torch.Generator().manual_seed(7)
    if name in ("text", "tokens"):
        return {"input_ids": torch.randint(256, (rows, 9), generator=draw)}
    if name == "image":
        return {"pixel_values": torch.rand(rows, 1, 6, 8, generator=draw)}
    return {"input_values": torch.rand(rows, 300, generator=draw) - 0.5}


def made(name, **options):
    torch.manual_seed(0)
    model, config, plan, _ = HEADS[name]
    return model(config(**plan, **(options or NAMES))).eval()


@pytest.mark.parametrize("name", HEADS)
def test_a_saved_head_is_loaded_by_its_auto_class(name, tmp_path):
    model, auto = made(name), HEADS[name][3]
    model.save_pretrained(tmp_path)
    again = auto.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert again.config.id2label == {0: "no", 1: "yes", 2: "both"}
    assert AutoConfig.from_pretrained(tmp_path).model == model.config.model
    with torch.no_grad():
        got, want = (m(**inputs(name)).logits for m in (again, model))
    assert torch.equal(got, want)
    assert want.shape[-1] == 3
    assert not torch.equal(got[0], got[1])
    assert torch.equal(model(**inputs(name), return_dict=False)[0].detach(), want)


@pytest.mark.parametrize("name", BASES)
def test_a_saved_encoder_is_loaded_by_the_auto_class(name, tmp_path):
    kind, config, plan = BASES[name]
    model = kind(config(**plan, pooling="attention")).eval()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert type(again) is kind
    with torch.no_grad():
        got, want = again(**inputs(name)), model(**inputs(name))
    assert torch.equal(got.last_hidden_state, want.last_hidden_state)
    assert torch.equal(got.pooler_output, want.pooler_output)
    # Attention pooling starts as the mean.
    torch.testing.assert_close(want.pooler_output, want.last_hidden_state.mean(1))


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_put_on_an_encoder_and_taken_from_it(name, pooling, tmp_path):
    base, (kind, config, plan, auto) = BASES["text" if name == "tokens" else name][0], HEADS[name]
    torch.manual_seed(1)
    saved = base(config(**plan, pooling=pooling)).eval()
    saved.save_pretrained(tmp_path / "base")
    with_head = auto.from_pretrained(tmp_path / "base", **NAMES)
    assert type(with_head) is kind
    head = with_head.model.head
    assert 0.01 < head.weight.std() < 0.03
    assert head.bias.abs().max() == 0
    with_head.save_pretrained(tmp_path / "head")
    # Tags need no pooling: only the encoder that tells tags loses its own.
    if not (name == "tokens" and pooling == "attention"):
        back = AutoModel.from_pretrained(tmp_path / "head")
        assert type(back) is base
        assert {k: v.tolist() for k, v in back.state_dict().items()} == {
            k: v.tolist() for k, v in saved.state_dict().items()
        }
    weights = load_file(tmp_path / "base" / "model.safetensors")
    del weights[next(key for key in weights if "head" not in key and "pooling" not in key)]
    save_file(weights, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="missing weights, such as"):
        auto.from_pretrained(tmp_path / "base", **NAMES)


def test_a_classifier_without_its_head_is_damaged(tmp_path):
    made("text").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "head" not in k}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"2 missing weights, such as model\.head\.bias"):
        UndulaForSequenceClassification.from_pretrained(tmp_path)


def test_losses_are_those_of_transformers():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    cases = [
        (NAMES, torch.tensor([0, 2, 1, 2])),
        (NAMES, torch.tensor([[1.0, 0.0, 1.0]] * 4)),
        ({**NAMES, "problem_type": "regression"}, torch.randn(4, 3)),
        ({"num_labels": 1}, torch.randn(4)),
    ]
    for options, labels in cases:
        config, theirs = (UndulaEncoderConfig(**TEXT, **options) for _ in range(2))
        given = logits[:, : config.num_labels]
        torch.testing.assert_close(
            told_loss(given, labels, config), ForSequenceClassificationLoss(labels, given, theirs)
        )
        # A forward pass is no place to change a configuration.
        assert config.problem_type == options.get("problem_type")


def test_labels_that_are_not_asked_count_nothing():
    model, given = made("tokens"), inputs("tokens")
    labels = torch.full((3, 9), -100)
    labels[0, 2], labels[1, 5] = 1, 2
    out = model(**given, labels=labels)
    nats = -out.logits.log_softmax(-1)
    torch.testing.assert_close(out.loss, (nats[0, 2, 1] + nats[1, 5, 2]) / 2)
    model = made("text")
    out = model(**inputs("text"), labels=torch.tensor([-100, 1, -100]))
    torch.testing.assert_close(out.loss, -out.logits.log_softmax(-1)[1, 1])


def test_numbers_are_told_in_their_own_units():
    plain, scaled = made("text", num_labels=1), made("text", num_labels=1, target_mean=50.0, target_std=4.0)
    given = inputs("text")
    torch.testing.assert_close(scaled(**given).logits, 50 + 4 * plain(**given).logits)
    truth = torch.tensor([[49.0], [52.0], [50.0]])
    want = (scaled(**given).logits - truth).square().mean()
    for labels in (truth, truth[:, 0]):
        torch.testing.assert_close(scaled(**given, labels=labels).loss, want)
    with pytest.raises(
        ValueError, match=r"labels have the shape \(3, 2\); wanted \(3,\) for problem_type='regression'"
    ):
        scaled(**given, labels=torch.zeros(3, 2))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["text", "tokens"])
def test_padding_of_texts_changes_nothing(name, side):
    model, ids = made(name), inputs(name)["input_ids"]
    fill = (4, 0) if side == "left" else (0, 4)
    padded, mask = F.pad(ids, fill, value=256), F.pad(torch.ones_like(ids), fill)
    got, want = model(padded, attention_mask=mask).logits, model(ids).logits
    got = got if name == "text" else got[:, fill[0] : fill[0] + 9]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_padding_of_recordings_changes_nothing():
    model, sound = made("sound"), inputs("sound")["input_values"]
    mask = F.pad(torch.ones_like(sound, dtype=torch.long), (0, 90))
    got = model(F.pad(sound, (0, 90), value=0.3), attention_mask=mask).logits
    torch.testing.assert_close(got, model(sound).logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="padding before real samples; pad recordings on the right"):
        lengths_of(mask.flip(1))


def test_spectrograms_serve_in_place_of_samples():
    model, sound = made("sound"), inputs("sound")["input_values"]
    features = log_mel(sound, 2000, 8)
    torch.testing.assert_close(model(input_features=features).logits, model(sound).logits)


def test_pixels_are_levelled_by_the_configuration():
    plain, levelled = made("image", image_mean=0.0, image_std=1.0, **NAMES), made("image", **NAMES)
    pixels = inputs("image")["pixel_values"]
    torch.testing.assert_close(levelled(pixels).logits, plain(2 * pixels - 1).logits)


def test_the_trainer_of_transformers_learns_with_a_head(tmp_path):
    torch.manual_seed(0)
    model = made("text", num_labels=2).train()
    rows = [{"input_ids": torch.full((5,), 65 + label), "labels": label} for label in (0, 1)] * 8
    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=20,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
    )
    trainer = Trainer(model=model, args=args, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.2 * before
    told = trainer.predict(rows).predictions.argmax(-1)
    assert told.tolist() == [0, 1] * 8


def test_a_pipeline_names_the_classes(tmp_path):
    model, tokenizer = made("text"), byte_tokenizer()
    found = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")(["abc", "longer text"])
    scores = model(**tokenizer(["abc"], return_tensors="pt")).logits[0].detach().softmax(-1)
    assert found[0]["label"] == model.config.id2label[int(scores.argmax())]
    assert found[0]["score"] == pytest.approx(float(scores.max()), abs=1e-6)
    tags = pipeline("token-classification", model=made("tokens"), tokenizer=tokenizer, device="cpu")("abc")
    assert [tag["entity"] in NAMES["label2id"] for tag in tags] == [True] * 3


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="did you mean 'patch_size'"):
        UndulaVisionConfig(model={"patch_sice": 3})
    with pytest.raises(ValueError, match="model: got 3, wanted a ModelConfig"):
        UndulaEncoderConfig(model=3)
    with pytest.raises(ValueError, match="got inputs_embeds"):
        made("text")(inputs("text")["input_ids"], inputs_embeds=torch.zeros(1))
    with pytest.raises(ValueError, match="got output_hidden_states, which undula models do not support"):
        made("text")(inputs("text")["input_ids"], output_hidden_states=True)
    config = UndulaEncoderConfig(**TEXT, **NAMES)
    config.problem_type = "regresion"
    with pytest.raises(ValueError, match="did you mean 'regression'"):
        told_loss(torch.zeros(2, 3), torch.zeros(2), config)


def test_images_become_what_training_made_of_them(tmp_path):
    red = Image.new("RGB", (6, 4), (255, 0, 51))
    made = UndulaImageProcessor(3)(red)["pixel_values"]
    assert made.shape == (1, 3, 4, 6)
    torch.testing.assert_close(made[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    UndulaImageProcessor(1, 2).save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, UndulaImageProcessor)
    grey = loaded([red, np.zeros((5, 5), np.uint8)])["pixel_values"]
    assert grey.shape == (2, 1, 2, 2)
    torch.testing.assert_close(grey[0], torch.full((1, 2, 2), 82 / 255))
    assert grey[1].abs().max() == 0
    with pytest.raises(ValueError, match=r"sizes \[\(4, 6\), \(5, 5\)\]; give images of one size"):
        UndulaImageProcessor(1)([red, np.zeros((5, 5), np.uint8)])
    for wrong in (np.zeros((5, 5)), np.zeros((3, 5, 5), np.uint8)):
        with pytest.raises(ValueError, match=r"wanted bytes \(uint8\) of shape \(H, W\) or \(H, W, 3\)"):
            UndulaImageProcessor(1)(wrong)


def test_recordings_are_padded_on_the_right_and_never_levelled():
    made = sound_processor(2000)([np.full(3, 0.5), np.full(5, 0.25)], sampling_rate=2000, padding=True)
    assert [row.tolist() for row in made["input_values"]] == [[0.5, 0.5, 0.5, 0, 0], [0.25] * 5]
    assert [row.tolist() for row in made["attention_mask"]] == [[1, 1, 1, 0, 0], [1] * 5]
    with pytest.raises(ValueError, match="2000"):
        sound_processor(2000)([np.zeros(3)], sampling_rate=8000)
