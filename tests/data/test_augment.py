"""Changes of inputs: what nothing, a turn, a shift, a delay and a gap do, and what they depend on."""

import dataclasses

import pytest
import torch

from undula.data.augment import disturbed, generator_of, moved, with_gaps
from undula.data.augment_config import AugmentConfig
from undula.data.labelled import Item, Labelled
from undula.data.labelled_batches import TrainItems, batched
from undula.data.labelled_config import LabelledDataConfig


class Given:
    """Stands in for random numbers between 0 and 1."""

    def __init__(self, monkeypatch, *values):
        monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(values))


def test_nothing_changes_nothing():
    image, sound = torch.rand(2, 5, 7), torch.rand(50)
    assert moved(image, AugmentConfig(), generator_of(0)) is image
    assert torch.equal(disturbed(sound, AugmentConfig(), generator_of(0)), sound)


def test_an_image_is_shifted_by_pixels(monkeypatch):
    image = torch.rand(1, 6, 9)
    Given(monkeypatch, 1.0, 0.0, 0.5, 0.5)
    # Two pixels up (all the way down in coordinates of what is read), two to the right.
    got = moved(image, AugmentConfig(shift=2.0), generator_of(0))
    torch.testing.assert_close(got[:, :4, 2:], image[:, 2:, :7], atol=1e-5, rtol=1e-5)
    assert float(got[:, 4:].abs().max()) < 1e-5
    assert float(got[:, :, :2].abs().max()) < 1e-5


def test_an_image_is_turned_about_its_middle_whatever_its_sides(monkeypatch):
    image = torch.zeros(1, 5, 9)
    image[0, 2, 2:7] = 1.0
    Given(monkeypatch, 0.5, 0.5, 1.0, 0.5)
    got = moved(image, AugmentConfig(rotation=90.0), generator_of(0))
    want = torch.zeros(1, 5, 9)
    want[0, :, 4] = 1.0
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_an_image_is_zoomed(monkeypatch):
    image = torch.zeros(1, 8, 8)
    image[0, 2:6, 2:6] = 1.0
    Given(monkeypatch, 0.5, 0.5, 0.5, 1.0)
    got = moved(image, AugmentConfig(zoom=0.5), generator_of(0))
    assert float(got.sum()) == pytest.approx(16 * 1.5**2, rel=0.05)


def test_a_recording_is_late_or_early_louder_and_faster(monkeypatch):
    sound = torch.rand(100) - 0.5
    Given(monkeypatch, 0.5, 1.0, 0.5, 0.0)
    late = disturbed(sound, AugmentConfig(delay=10), generator_of(0))
    torch.testing.assert_close(late, torch.cat([torch.zeros(10), sound]))
    Given(monkeypatch, 0.5, 0.0, 0.5, 0.0)
    torch.testing.assert_close(disturbed(sound, AugmentConfig(delay=10), generator_of(0)), sound[10:])
    assert len(disturbed(sound, AugmentConfig(delay=200), generator_of(0))) == 1
    Given(monkeypatch, 0.5, 0.5, 1.0, 0.0)
    torch.testing.assert_close(disturbed(sound, AugmentConfig(gain=20.0), generator_of(0)), 10 * sound)
    Given(monkeypatch, 1.0, 0.5, 0.5, 0.0)
    assert len(disturbed(sound, AugmentConfig(speed=0.25), generator_of(0))) == 80


def test_noise_has_the_share_that_is_asked_for(monkeypatch):
    sound = 0.3 * torch.sin(torch.arange(20000.0))
    Given(monkeypatch, 0.5, 0.5, 0.5, 1.0)
    noise = disturbed(sound, AugmentConfig(noise=0.2), generator_of(0)) - sound
    assert float(noise.std() / sound.square().mean().sqrt()) == pytest.approx(0.2, rel=0.02)


def test_gaps_have_the_mean_of_what_is_real():
    mel = torch.randn(2, 10, 20)
    lengths = torch.tensor([20, 12])
    shares = torch.tensor([[1.0, 0.5, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
    got = with_gaps(mel, lengths, shares, AugmentConfig(mask_mels=0.4, mask_frames=0.25))
    for row, bands, frames in ((0, slice(3, 7), slice(0, 5)), (1, slice(0, 4), slice(9, 12))):
        mean = mel[row, :, : lengths[row]].mean()
        want = mel[row].clone()
        want[bands] = mean
        want[:, frames] = mean
        torch.testing.assert_close(got[row], want)
    assert torch.equal(with_gaps(mel, lengths, shares, AugmentConfig()), mel)


def labelled(kind, count=7):
    values = {
        "text": lambda i: torch.arange(i + 1),
        "image": lambda i: torch.full((1, 4, 4), i / 10),
        "sound": lambda i: torch.full((20 + i,), i / 10),
    }[kind]
    items = [Item(values(i), torch.tensor(i)) for i in range(count)]
    config = LabelledDataConfig(kind=kind)
    return Labelled(config, tuple("abcdefg"), items, [], "", None, 10)


@pytest.mark.parametrize("kind", ["image", "sound"])
def test_an_item_depends_on_the_seed_and_its_number_alone(kind):
    data = labelled(kind)
    augment = AugmentConfig(shift=1.0) if kind == "image" else AugmentConfig(gain=6.0, delay=0.5, noise=0.1)

    def read(seed, indices):
        items = TrainItems(data, augment, seed=seed, length=30)
        return {i: items[i] for i in indices}

    first, backwards, other = read(0, range(30)), read(0, range(29, -1, -1)), read(1, range(30))
    for i in range(30):
        assert torch.equal(first[i].item.values, backwards[i].item.values)
        assert torch.equal(first[i].shares, backwards[i].shares)
    assert [int(first[i].item.label) for i in range(30)] != [int(other[i].item.label) for i in range(30)]
    assert not torch.equal(first[0].shares, first[7].shares)
    # Each once in an epoch, in another order in the next; and another change of the same input.
    orders = [[int(first[i].item.label) for i in range(start, start + 7)] for start in (0, 7, 14)]
    assert [sorted(order) for order in orders] == [list(range(7))] * 3
    assert orders[0] != orders[1]
    six = [first[7 * epoch + order.index(6)].item.values for epoch, order in enumerate(orders)]
    assert not torch.equal(six[0][..., :4], six[1][..., :4])
    with pytest.raises(IndexError):
        TrainItems(data, augment, seed=0, length=30)[30]


def test_batches_are_padded_on_the_right():
    data = labelled("sound", 3)
    batch = batched(data.train, data)
    assert batch["input_values"].shape == (3, 22)
    assert batch["attention_mask"].sum(1).tolist() == [20, 21, 22]
    assert batch["input_values"][1, 21] == 0
    assert batch["labels"].tolist() == [0, 1, 2]
    assert set(batched(labelled("image").train, labelled("image"))) == {"pixel_values", "labels"}


def test_every_option_is_read():
    image, sound = torch.rand(1, 6, 6), torch.rand(60) - 0.5
    mel, shares = torch.randn(1, 10, 10), torch.full((1, 4), 0.9)
    for field in dataclasses.fields(AugmentConfig):
        config = AugmentConfig(**{field.name: 0.5 if field.name != "delay" else 9.0})
        changed = [
            not torch.equal(moved(image, config, generator_of(3)), image),
            not torch.equal(disturbed(sound, config, generator_of(3)), sound),
            not torch.equal(with_gaps(mel, torch.tensor([10]), shares, config), mel),
        ]
        assert sum(changed) == 1, field.name


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"shift": -1.0}, "image", "augment.shift=-1.0; wanted 0 or more"),
        ({"zoom": 1.0}, "image", "augment.zoom=1.0; wanted 0 or more, below 1"),
        (
            {"gain": 3.0},
            "image",
            "augment.gain=3.0 with data.kind='image'; what there is for it: shift, rotation, zoom",
        ),
        ({"shift": 1.0}, "text", "what there is for it: nothing"),
    ],
)
def test_bad_values_are_refused(values, kind, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**values).check(kind)
