"""The documented schedule: both ends, no jump, no rise after the end."""

import logging

import pytest
import torch

from undula.optim.schedule import create_optimized_scheduler


def rates(count, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = create_optimized_scheduler(optimizer, **options)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"] / 2)
        optimizer.step()
        schedule.step()
    return found


def test_from_the_peak_to_the_floor_and_level_after_it():
    found = rates(1100, total_steps=1000, warmup_steps=100, min_lr_ratio=0.1)
    assert found[0] == pytest.approx(0.01)
    assert max(found) == pytest.approx(1.0)
    assert found.index(max(found)) == 99
    assert found[550] == pytest.approx(0.55)
    # Cut off at 0.1, the plain cosine is there at step 816 already.
    assert found[816] == pytest.approx(0.1903, abs=1e-3)
    assert found[1000:] == pytest.approx([0.1] * 100)


def test_a_warm_up_that_does_not_fit_still_reaches_the_peak(caplog):
    with caplog.at_level(logging.WARNING):
        found = rates(50, total_steps=50, warmup_steps=500)
    assert max(found) == pytest.approx(1.0)
    assert "warmup_steps=500 of total_steps=50 never ends; taking 5" in caplog.text


@pytest.mark.parametrize(
    "options", [{"total_steps": 0}, {"total_steps": 9, "warmup_steps": -1}, {"total_steps": 9, "min_lr_ratio": 1.1}]
)
def test_bad_input_is_refused(options):
    with pytest.raises(ValueError, match="wanted"):
        rates(1, **options)
