"""The run of an encoder that tells classes, tags or numbers: train it, resume it, load it, score it, ask it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from undula.config import to_dict
from undula.data.example import Example
from undula.data.images import read_image
from undula.data.labelled import Item, Labelled, encoded_like, load_examples, prepare_labelled
from undula.data.labelled_batches import batched
from undula.data.labelled_config import LabelledDataConfig
from undula.data.labelled_sounds import read_recording
from undula.data.labelled_texts import EMBEDDED
from undula.experiments.folder import RunResult, check_data, newest, read_run, resolved, train_into
from undula.hf.encoder_configuration import UndulaAudioEncoderConfig, UndulaEncoderConfig, UndulaVisionConfig
from undula.hf.loading import WholeModel
from undula.hf.processors import UndulaImageProcessor, sound_processor
from undula.hf.sense_encoder import UndulaForAudioClassification, UndulaForImageClassification
from undula.hf.text_encoder import UndulaForSequenceClassification, UndulaForTokenClassification
from undula.hf.told import REGRESSION, SINGLE
from undula.models.config import ModelConfig
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig
from undula.training.manifest import Checkpoint
from undula.training.quiet import no_progress_bars
from undula.training.recognition import RecognitionTask
from undula.training.recognition_config import RecognitionTrainConfig
from undula.training.records import Listener
from undula.training.state import kept_rng
from undula.training.task import Processor
from undula.validation.recognition import Score, evaluate_recogniser

HEADS: dict[str, type[WholeModel]] = {
    "text": UndulaForSequenceClassification,
    "image": UndulaForImageClassification,
    "sound": UndulaForAudioClassification,
}
"""What tells one thing of the whole input, by kind of data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recogniser:
    """A trained encoder with its head, as its run left it.

    Args:
        folder: the run's folder.
        config: what was run.
        checkpoint: where the model comes from.
        model: in evaluation mode, on the CPU.
        tokenizer: of texts; None for others.
    """

    folder: Path
    config: RecognitionTrainConfig
    checkpoint: Checkpoint
    model: Any
    tokenizer: PreTrainedTokenizerFast | None


def train_recogniser(
    config: RecognitionTrainConfig, out: Path, *, resume: bool = False, progress: Listener | None = None
) -> RunResult[RecognitionTrainConfig]:
    """Train an encoder with a head into a folder; the global random generators are left as they were.

    Args:
        config: the whole run.
        out: the run's folder; made if needed.
        resume: go on where the newest whole checkpoint ends, bit for bit; without one, from the start.
        progress: told about the progress.

    Raises:
        ValueError: when the data cannot be read or split; when `out` holds a run already (without resume), was made
            from another configuration or other data (with resume), or has no whole checkpoint left; when the loss is no
            longer finite.
        FileNotFoundError: when there is no run to resume, or no data.
        ImportError: when the data need an extra that is not installed.
        OSError: when the disk is full.
    """
    with kept_rng():
        labelled = prepare_labelled(config.data)
        config = resolved_config(config, labelled)
        torch.manual_seed(config.seed)
        model = build_recogniser(config, labelled)
        task = RecognitionTask(config, labelled, _processor(config))
        return train_into(out, config, model, task, resume=resume, progress=progress)


def resolved_config(config: RecognitionTrainConfig, labelled: Labelled) -> RecognitionTrainConfig:
    """Return the configuration with what only the data know, and a path that means the same from any folder."""
    data = config.data
    if data.source not in (*EMBEDDED, "digits"):
        data = dataclasses.replace(data, source=resolved(data.source))
    model = config.model
    if isinstance(model, ModelConfig) and labelled.tokenizer is not None:
        model = dataclasses.replace(model, vocab_size=len(labelled.tokenizer))
    elif isinstance(model, VisionEncoderConfig):
        model = dataclasses.replace(model, channels=labelled.train[0].values.shape[0])
    elif isinstance(model, AudioEncoderConfig):
        model = dataclasses.replace(model, sample_rate=labelled.sample_rate)
    return dataclasses.replace(config, data=data, model=model)


def build_recogniser(config: RecognitionTrainConfig, labelled: Labelled) -> WholeModel:
    """Return an untrained encoder with the head that the data ask for."""
    told: dict[str, Any] = {"model": to_dict(config.model), "pooling": config.pooling}
    if config.data.target == "number":
        mean, std = labelled.target_scale
        told |= {"num_labels": 1, "problem_type": REGRESSION, "target_mean": mean, "target_std": std}
    else:
        told |= {"id2label": dict(enumerate(labelled.labels)), "problem_type": SINGLE}
        told |= {"label2id": {name: number for number, name in enumerate(labelled.labels)}}
    if labelled.tokenizer is not None:
        kind = UndulaForTokenClassification if config.data.target == "tags" else UndulaForSequenceClassification
        return kind(UndulaEncoderConfig(**told, pad_token_id=cast(int, labelled.tokenizer.pad_token_id)))
    if config.data.kind == "image":
        mean, std = labelled.input_scale
        return UndulaForImageClassification(UndulaVisionConfig(**told, image_mean=mean, image_std=std))
    return UndulaForAudioClassification(UndulaAudioEncoderConfig(**told))


def _processor(config: RecognitionTrainConfig) -> Processor | None:
    model = config.model
    if isinstance(model, VisionEncoderConfig):
        return UndulaImageProcessor(model.channels, config.data.image_size)
    return sound_processor(model.sample_rate) if isinstance(model, AudioEncoderConfig) else None


def load_recogniser(folder: Path) -> Recogniser:
    """Return the model of a run's newest whole checkpoint, with tokenizer and configuration.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when it trained something else, or every checkpoint is damaged.
    """
    config, checkpoint = read_run(folder, RecognitionTrainConfig), newest(folder)
    kind = UndulaForTokenClassification if config.data.target == "tags" else HEADS[config.data.kind]
    with no_progress_bars():
        model = kind.from_pretrained(checkpoint.path)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path) if config.data.kind == "text" else None
    return Recogniser(folder=folder, config=config, checkpoint=checkpoint, model=model, tokenizer=tokenizer)


def evaluate_recognition_run(folder: Path, source: str | None = None) -> Score:
    """Return the score of a run's model.

    Args:
        folder: the run's folder.
        source: other data of the run's kind, of which all is scored, or what they hold out themselves; by default what
            the run holds out.

    Raises:
        FileNotFoundError: when the folder is no run, or the data do not exist.
        ValueError: when the run's data are no longer what they were, cannot be read, or have labels that are unknown.
    """
    loaded = load_recogniser(folder)
    size = loaded.config.eval_batch_size
    if source is None:
        labelled = prepare_labelled(loaded.config.data)
        check_data(loaded.checkpoint, labelled.fingerprint)
        return evaluate_recogniser(loaded.model, labelled.test, labelled, size)
    labelled = _like(loaded, dataclasses.replace(_as_trained(loaded.config), source=source))
    found = load_examples(labelled.config)
    items = encoded_like(found.train if found.test is None else found.test, labelled)
    return evaluate_recogniser(loaded.model, items, labelled, size)


def recognise(loaded: Recogniser, asked: str) -> dict[str, float] | float | list[tuple[str, str]]:
    """Return the probability of each class, likeliest first; or a number; or each word with its tag.

    Args:
        loaded: the model.
        asked: a text; or the path of an image or a recording.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for an empty text, or a file that cannot be read.
    """
    labelled = _like(loaded, _as_trained(loaded.config))
    if loaded.config.data.kind == "text" and not asked.strip():
        raise ValueError("the text is empty; give some")
    item = _asked(asked, labelled)
    batch = batched([item], labelled)
    del batch["labels"]
    with torch.no_grad():
        logits = loaded.model(**batch).logits[0].float()
    if loaded.config.data.target == "number":
        return float(logits[0])
    if loaded.config.data.target == "tags":
        told = logits[item.label >= 0].argmax(-1).tolist()
        return list(zip(asked.split(), (labelled.labels[i] for i in told), strict=False))
    chances = logits.softmax(-1).tolist()
    return dict(sorted(zip(labelled.labels, chances, strict=True), key=lambda each: -each[1]))


def _asked(asked: str, labelled: Labelled) -> Item:
    config = labelled.config
    path = Path(asked).expanduser()
    if config.kind != "text" and not path.is_file():
        raise FileNotFoundError(f"no file {path}; give the path of an image or a recording")
    target: Any = 0.0
    if config.target != "number":
        target = [labelled.labels[0]] * len(asked.split()) if config.target == "tags" else labelled.labels[0]
    content: Any = asked.split() if config.target == "tags" else asked
    if config.kind == "image":
        content = read_image(path, config)
    elif config.kind == "sound":
        content = read_recording(path, config)
    return encoded_like([Example(asked, content, target)], labelled)[0]


def _as_trained(config: RecognitionTrainConfig) -> LabelledDataConfig:
    """What other inputs are brought to: the channels and the sample rate that the model knows."""
    data, model = config.data, config.model
    if isinstance(model, VisionEncoderConfig):
        return dataclasses.replace(data, channels=model.channels)
    if isinstance(model, AudioEncoderConfig):
        return dataclasses.replace(data, sample_rate=model.sample_rate)
    return data


def _like(loaded: Recogniser, config: LabelledDataConfig) -> Labelled:
    """What encodes other inputs as the run's own were."""
    names: Sequence[str] = ()
    if config.target != "number":
        names = [loaded.model.config.id2label[i] for i in range(loaded.model.config.num_labels)]
    rate = config.sample_rate or 0
    return Labelled(config, tuple(names), [], [], loaded.checkpoint.data, loaded.tokenizer, rate)
