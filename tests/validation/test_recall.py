"""Right answers are counted, and nothing else."""

import math

import torch
from torch import nn

from tests.contract.cases import model, moved
from undula.data.synthetic import Task, TaskWindows
from undula.models.language_model import LanguageModel
from undula.ops.metrics import IGNORED
from undula.validation.recall import Recalled, recalled


class Always(LanguageModel):
    """Predicts one letter, and counts what it has read."""

    def __init__(self, letter):
        super().__init__()
        self.letter = ord(letter)
        self.weight = nn.Parameter(torch.zeros(()))
        self.read = 0

    def forward(self, input_ids, attention_mask=None, *, state=None, on_layer=None):
        self.read = max(self.read, input_ids.shape[1])
        scores = torch.zeros(*input_ids.shape, 257)
        scores[..., self.letter] = 1.0
        return scores, state

    def init_state(self, batch_size, *, device=None, dtype=None):
        return ()


def test_a_model_that_guesses_has_the_share_of_its_guess():
    windows = TaskWindows(Task("needle", 2), 64, seed=0, length=50, held_out=True)
    answers = [a for i in range(50) for a in windows[i]["shift_labels"].flatten().tolist() if a != IGNORED]
    guess = Always("e")
    found = recalled(guess, windows, batch_size=7, piece=10)
    assert guess.read == 10
    assert found == Recalled(answers.count(ord("e")), 100)
    assert guess.training


def test_pieces_and_batches_change_nothing():
    torch.manual_seed(0)
    windows = TaskWindows(Task("needle", 26), 105, seed=0, length=12, held_out=True)
    subject = moved(model("plain", ("fft_conv",)))
    with torch.no_grad():
        wide = nn.Embedding(257, 12)
        subject.embedding, subject.head, subject.vocab_size = wide, nn.Linear(12, 257, bias=False), 257
    whole = recalled(subject, windows, piece=1000)
    assert whole == recalled(subject, windows, batch_size=5, piece=13)
    assert whole.asked == 12 * 26


def test_of_nothing_the_share_is_nan():
    assert math.isnan(Recalled(0, 0).accuracy)
    assert Recalled(1, 4).accuracy == 0.25
