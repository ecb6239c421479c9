"""What parts add to the loss."""

import torch
from torch import nn

from undula.nn.aux_loss import summed_aux_loss


class Part(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def aux_loss(self):
        return None if self.value is None else torch.tensor(self.value)


def test_the_sum_over_all_parts_at_any_depth():
    model = nn.Sequential(Part(1.0), nn.Sequential(Part(None), Part(2.5)), nn.Linear(2, 2))
    assert summed_aux_loss(model).item() == 3.5


def test_a_part_answers_for_its_own_parts():
    outer = Part(1.0)
    outer.inner = Part(0.5)
    assert summed_aux_loss(nn.Sequential(outer)).item() == 1.0


def test_nothing_is_none_and_the_model_itself_is_not_asked():
    assert summed_aux_loss(nn.Sequential(Part(None), nn.Linear(2, 2))) is None
    assert summed_aux_loss(Part(1.0)) is None
