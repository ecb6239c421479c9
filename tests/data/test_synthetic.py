"""Tasks of memory: what is asked was said, noise gives nothing away, and answers alone count."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from undula.data.build import prepare
from undula.data.config import DataConfig
from undula.data.stream import EvalWindows
from undula.data.synthetic import HELD_OUT, Task, TaskWindows, joined, known_task
from undula.ops.metrics import IGNORED


def letters(item, row=0):
    """The text of an episode, its last answer included."""
    tokens = [*item["input_ids"][row].tolist(), int(item["shift_labels"][row, -1])]
    return bytes(tokens).decode()


def asked(item, row=0):
    """What is asked, and at which steps."""
    labels = item["shift_labels"][row]
    steps = (labels != IGNORED).nonzero().flatten().tolist()
    return bytes(labels[steps].tolist()).decode(), steps


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize(("count", "size"), [(1, 64), (4, 64), (4, 17), (26, 105), (3, 37)])
def test_every_key_is_asked_for_its_value(count, size, held_out):
    windows = TaskWindows(Task("needle", count), size, seed=0, length=20, held_out=held_out)
    assert windows[19]["input_ids"].shape[1] == size
    for index in range(20):
        item = windows[index]
        text, (answers, steps) = letters(item), asked(item)
        size = item["input_ids"].shape[1]
        assert len(text) == size + 1
        assert steps == list(range(size - 2 * count + 1, size, 2))
        noise, questions = text[: -2 * count], text[-2 * count :]
        keys = questions[::2]
        assert len(set(keys)) == count
        assert Counter(c for c in noise if c.isupper()) == Counter(keys)
        assert questions[1::2] == answers == "".join(noise[noise.index(key) + 1] for key in keys)
        assert answers.islower()


@pytest.mark.parametrize("held_out", [False, True])
def test_the_string_is_asked_again(held_out):
    windows = TaskWindows(Task("copy", 5), 64, seed=0, length=10, held_out=held_out)
    for index in range(10):
        text, (answers, steps) = letters(windows[index]), asked(windows[index])
        assert steps == list(range(len(text) - 6, len(text) - 1))
        assert text[-6] == "="
        assert text[-5:] == answers
        assert answers in text[:-6]
        assert "".join(c for c in text[:-6] if c.isupper()) == answers
        assert text.startswith(answers) or not held_out


def test_pairs_to_learn_from_are_near_and_those_that_are_scored_anywhere():
    task = Task("needle", 1)

    def distances(near):
        draw = np.random.default_rng(0)
        texts = [bytes(task.episode(draw, 2048, near=near)).decode() for _ in range(2000)]
        return np.array([2048 - 2 - text.index(next(c for c in text if c.isupper())) for text in texts])

    near, far = distances(True), distances(False)
    assert 0.45 < (near < 64).mean() < 0.6
    assert near.max() > 1900
    assert 0.02 < (far < 64).mean() < 0.05
    assert abs(np.median(far) - 1024) < 60


def test_a_value_does_not_stand_out_of_the_noise():
    draw = np.random.default_rng(0)
    texts = [bytes(Task("needle", 1).episode(draw, 64)).decode() for _ in range(4000)]
    counts = Counter(text[-1] for text in texts)
    assert len(counts) == 26
    assert max(counts.values()) < 1.4 * 4000 / 26
    noise = Counter("".join(c for text in texts for c in text if c.islower()))
    assert max(noise.values()) / min(noise.values()) < 1.06


def test_item_depends_on_seed_and_index_alone():
    task = Task("needle", 2)
    windows, other = (TaskWindows(task, 64, seed=s, length=8) for s in (5, 6))
    held_out = TaskWindows(task, 64, seed=5, length=8, held_out=True)
    for i in (3, 0, 7):
        assert torch.equal(windows[i]["input_ids"], windows[i]["input_ids"])
        assert not torch.equal(windows[i]["input_ids"], other[i]["input_ids"])
        assert letters(windows[i]) != letters(held_out[i])
    assert len({letters(windows[i]) for i in range(8)}) == 8
    with pytest.raises(IndexError, match="item 8 of 8"):
        windows[8]


def test_episodes_grow_to_the_block_and_an_item_always_has_as_many_steps():
    windows = TaskWindows(Task("needle", 1), 2048, seed=0, length=100)
    shapes = [tuple(windows[i]["input_ids"].shape) for i in range(100)]
    assert set(shapes) == {(2048 // size, size) for size in (16, 32, 64, 128, 256, 512, 1024, 2048)}
    assert [rows * steps for rows, steps in shapes] == [2048] * 100
    assert [steps for _, steps in shapes] == sorted(steps for _, steps in shapes)
    assert shapes.count((1, 2048)) == 50
    assert 7 <= shapes.count((128, 16)) <= 8
    held_out = TaskWindows(Task("needle", 1), 2048, seed=0, length=3, held_out=True)
    assert {tuple(held_out[i]["input_ids"].shape) for i in range(3)} == {(1, 2048)}
    assert held_out.predicted_bytes == 3


def test_a_batch_of_episodes_of_two_lengths():
    windows = TaskWindows(Task("needle", 1), 32, seed=0, length=10)
    batch = joined(iter([windows[4], windows[5]]))
    assert batch["input_ids"].shape == batch["shift_labels"].shape == (3, 32)
    assert torch.equal(batch["shift_labels"][:2, :16], windows[4]["shift_labels"])
    assert set(batch["shift_labels"][:2, 16:].flatten().tolist()) == {IGNORED}
    assert torch.equal(batch["input_ids"][2:], windows[5]["input_ids"])


def test_a_task_is_prepared_like_a_text(tmp_path):
    config = DataConfig(source="needle:3", block_size=64, eval_block_size=256)
    prepared = prepare(config, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert prepared.task == Task("needle", 3)
    assert prepared.vocab_size == 257
    assert prepared.train_windows(seed=1, length=7)[6]["input_ids"].shape == (1, 64)
    held_out = prepared.eval_windows()
    assert len(held_out) == HELD_OUT
    assert held_out[0]["input_ids"].shape == (1, 256)
    assert prepared.eval_windows(1000)[0]["input_ids"].shape == (1, 1000)
    assert prepared.train.byte_count() / len(prepared.train) > 0.9
    others = [dataclasses.replace(config, **c) for c in ({"source": "needle"}, {"source": "copy:3"}, {"split_seed": 1})]
    assert len({prepare(c).fingerprint for c in [config, *others]}) == 4
    assert prepare(dataclasses.replace(config, block_size=128)).fingerprint == prepared.fingerprint


def test_held_out_windows_of_another_length(tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"line {i} of a text.\n" for i in range(500)))
    config = DataConfig(source=str(tmp_path / "text.txt"), block_size=16, eval_block_size=50, split="tail")
    windows = prepare(config, tmp_path / "cache").eval_windows()
    assert isinstance(windows, EvalWindows)
    assert windows[0]["input_ids"].shape == (50,)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("needle:0", "needle:0; wanted 1 to 26"),
        ("copy:27", "copy:27"),
        ("needle:x", "source 'needle:x'; wanted needle"),
    ],
)
def test_numbers_out_of_range(source, said):
    with pytest.raises(ValueError, match=said):
        known_task(source)


def test_what_names_no_task_is_left_to_others():
    assert known_task("./needle") is None
    assert known_task("needles") is None
    assert known_task("needle") == Task("needle", 1)
    assert known_task("copy") == Task("copy", 8)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="length=16 has no room for needle:4; wanted at least 17"):
        prepare(DataConfig(source="needle:4", block_size=16)).train_windows(seed=0, length=1)
    with pytest.raises(ValueError, match="tokenizer='char'; its letters are bytes"):
        prepare(DataConfig(source="copy", tokenizer="char"))
    with pytest.raises(ValueError, match="eval_block_size=0; wanted at least 1"):
        DataConfig(eval_block_size=0)
