"""The dataset validator finds every planted defect, and nothing in sound data."""

import json
import logging
import math

import numpy as np
import pytest
import torch

from undula.data.texts import EnhancedTextDataset
from undula.validation.dataset import DatasetValidator
from undula.validation.results import plain


class Bytes:
    def encode(self, text):
        return list(text.encode())


def text(seed, length):
    letters = np.random.default_rng(seed).integers(97, 123, length).astype(np.uint8)
    return letters.tobytes().decode()


def dataset(content, length=64, stride=None, kind=EnhancedTextDataset):
    return kind([content], Bytes(), seq_length=length, stride=stride, validate_sequences=False)


TRAIN, OTHER = text(0, 4000), text(1, 1000)


class Unshifted(EnhancedTextDataset):
    def __getitem__(self, index):
        x, _ = super().__getitem__(index)
        return x, x


class Repeats(EnhancedTextDataset):
    def __getitem__(self, index):
        return super().__getitem__(index - index % 2)


class Ragged(EnhancedTextDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return (x[:-1], y[:-1]) if index == 3 else (x, y)


def test_a_text_against_itself_is_all_overlap():
    found = DatasetValidator().check_dataset_overlap(dataset(TRAIN), dataset(TRAIN))
    assert found["overlap_percentage"] == 1.0
    assert found["assessment"] == "high"
    assert found["overlap_count"] == found["total_checked"] == 62


def test_clean_text_has_none():
    found = DatasetValidator().check_dataset_overlap(dataset(TRAIN), dataset(OTHER))
    assert found["overlap_percentage"] == 0
    assert (found["assessment"], found["high_overlap_samples"]) == ("low", [])


@pytest.mark.parametrize("start", [0, 1003, 3744])
@pytest.mark.parametrize("length", [32, 256])
def test_a_passage_from_anywhere_in_training_is_found(start, length, caplog):
    held_out = OTHER[:500] + TRAIN[start : start + length] + OTHER[500:]
    with caplog.at_level(logging.WARNING):
        found = DatasetValidator().check_dataset_overlap(dataset(TRAIN), dataset(held_out))
    assert found["overlap_percentage"] == pytest.approx(length / (1000 + length), abs=0.003)
    assert length <= found["longest_overlap_tokens"] <= length + 2
    assert "stand in the training text, too" in caplog.text
    assert found["high_overlap_samples"][0]["val_sample_id"] in (7, 8, 9, 10, 11)


def test_any_dataset_of_pairs_is_read_item_by_item():
    class Reversed(EnhancedTextDataset):
        """Stores training, gives something else: what is stored must not be believed."""

        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x.flip(0), y.flip(0)

    validator = DatasetValidator()
    assert validator.check_dataset_overlap(dataset(TRAIN), dataset(TRAIN, kind=Reversed))["overlap_percentage"] == 0
    pairs = [dataset(TRAIN)[3], dataset(OTHER)[0]]
    assert validator.check_dataset_overlap(dataset(TRAIN), pairs)["overlap_percentage"] == pytest.approx(0.5)


def test_a_sample_of_the_held_out_text_is_random_and_the_same_each_time():
    held_out = dataset(OTHER[:200] + TRAIN[1000:1600] + OTHER[200:])
    first, second = (DatasetValidator().check_dataset_overlap(dataset(TRAIN), held_out, max_samples=12) for _ in "ab")
    assert first == second
    assert first["total_checked"] == 12
    assert 0.1 < first["overlap_percentage"] < 0.8


def test_nothing_to_look_at_is_an_error():
    validator = DatasetValidator()
    with pytest.raises(ValueError, match="the dataset has no sample"):
        validator.check_dataset_overlap(dataset(TRAIN), [])
    short = [(torch.arange(8), torch.arange(1, 9))]
    with pytest.raises(ValueError, match="the longest held-out sample has 9 tokens"):
        validator.check_dataset_overlap(dataset(TRAIN), short)
    with pytest.raises(ValueError, match="item 0 is a tuple; wanted a pair of tensors"):
        validator.verify_sequence_construction([(1, 2)])


@pytest.mark.parametrize(
    ("made", "expected", "quality"),
    [
        (dataset(TRAIN), 64, "excellent"),
        (dataset(TRAIN), None, "excellent"),
        (dataset(TRAIN, stride=16), 16, "good"),
        (dataset(TRAIN, stride=16), None, "good"),
        (dataset(TRAIN, stride=16), 64, "poor"),
        (dataset(TRAIN), 16, "poor"),
        (dataset(TRAIN, kind=Unshifted), 64, "poor"),
        (dataset(TRAIN, kind=Repeats), 64, "poor"),
        (dataset(TRAIN, kind=Ragged), 64, "poor"),
        (dataset(TRAIN, length=32), 64, "poor"),
    ],
)
def test_windows_are_judged_by_what_they_hold(made, expected, quality):
    found = DatasetValidator().verify_sequence_construction(made, expected, 64)
    assert found["construction_quality"] == quality


def test_steps_are_counted_and_compared():
    validator = DatasetValidator()
    assert validator.validate_training_steps(range(10), 4, 3)["validation_passed"]
    assert validator.validate_training_steps(range(10), 4, 2, drop_last=True)["validation_passed"]
    wrong = validator.validate_training_steps(range(10), 2, 1000)
    assert (wrong["validation_passed"], wrong["calculated_steps"], wrong["step_difference"]) == (False, 5, -995)
    assert validator.validate_training_steps([100, 50])["reduction_rate"] == 0.5
    assert not validator.validate_training_steps([100, 150])["is_reducing"]
    with pytest.raises(ValueError, match="batch_size=None"):
        validator.validate_training_steps(range(10))


def test_results_are_saved_without_nan(tmp_path):
    path = DatasetValidator().save_validation_results({"a": math.nan, "b": [1, math.inf]}, tmp_path, "20260101_000000")
    assert path.name == "dataset_validation_20260101_000000.json"
    assert json.loads(path.read_text())["validation_results"] == {"a": None, "b": [1, None]}
    with pytest.raises(ValueError, match="timestamp"):
        DatasetValidator().save_validation_results({}, tmp_path, "../../x")
    assert plain({"x": (float("nan"), True)}) == {"x": [None, True]}
