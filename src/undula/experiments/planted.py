"""Defects planted one at a time: checks that do not notice them are worth nothing."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from undula.audit.run import audit_language_model
from undula.data.build import Prepared
from undula.experiments.validate import (
    Pairs,
    check_construction,
    check_overlap,
    check_perplexity,
    check_score,
    text_windows,
)
from undula.models.wave_gpt import WaveGPT, WaveGPTConfig
from undula.validation.batches import evaluate_batches
from undula.validation.perplexity import WRONG
from undula.validation.report import Check, Report, of_finding

VOCABULARY = 12


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A defect, and what became of it.

    Args:
        defect: what was planted.
        check: the check that has to fail.
        caught: whether it did.
        report: all that was run on the defect.
    """

    defect: str
    check: str
    caught: bool
    report: Report


class Faulty(nn.Module):
    """A small sound transformer with something done to it.

    Args:
        fault: given the model and token ids, returns the scores.
    """

    def __init__(self, fault: Callable[["Faulty", Tensor], Tensor]) -> None:
        super().__init__()
        config = WaveGPTConfig(
            vocab_size=VOCABULARY,
            d_model=16,
            num_layers=1,
            num_heads=2,
            model_type="standard",
            use_interference_attention=False,
            dropout=0.0,
        )
        self.inner, self.fault = WaveGPT(config), fault

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the scores."""
        return self.fault(self, input_ids)

    def sound(self, input_ids: Tensor) -> Tensor:
        """Return what the model says without the fault."""
        return self.inner(input_ids)[0]


def _ahead(model: Faulty, ids: Tensor) -> Tensor:
    return model.sound(ids.roll(-1, 1))


def _total_length(model: Faulty, ids: Tensor) -> Tensor:
    return model.sound(ids) * ids.shape[1]


def _other_rows(model: Faulty, ids: Tensor) -> Tensor:
    scores = model.sound(ids)
    return scores + 0.1 * scores.mean(dim=0, keepdim=True)


def _other_in_training(model: Faulty, ids: Tensor) -> Tensor:
    return model.sound(ids) * (2 if model.training else 1)


def _memoryless(model: Faulty, ids: Tensor) -> Tensor:
    return model.sound(ids.flatten()[:, None]).view(*ids.shape, VOCABULARY)


MODELS: tuple[tuple[str, str, Callable[[Faulty, Tensor], Tensor]], ...] = (
    ("reads the token that it is asked for", "leak", _ahead),
    ("depends on the length of the whole text", "prefix", _total_length),
    ("mixes the rows of a batch", "batch", _other_rows),
    ("is another function in training", "train equals eval", _other_in_training),
    ("looks at one token alone", "mixing", _memoryless),
)
"""Faults of models: what is wrong, and the audit that has to see it."""


class Unshifted(Pairs):
    """Windows whose targets are their inputs."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, _ = super().__getitem__(index)
        return x, x


class Repeated(Pairs):
    """Windows of which every second one is the one before."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return super().__getitem__(index - index % 2)


class Oracle(nn.Module):
    """Knows the next token of a text that it was shown.

    Args:
        pairs: what it was shown.
        vocab_size: number of tokens.
        sign: 1: says what is right; -1: says what is wrong.
    """

    def __init__(self, pairs: Pairs, vocab_size: int, sign: float) -> None:
        super().__init__()
        self.answers = {tuple(x.tolist()): y for x, y in (pairs[i] for i in range(len(pairs)))}
        self.vocab_size, self.scale = vocab_size, nn.Parameter(torch.tensor(40.0 * sign))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return scores that are certain."""
        labels = torch.stack([self.answers[tuple(row)] for row in input_ids.tolist()])
        return self.scale * nn.functional.one_hot(labels, self.vocab_size)


def self_test(prepared: Prepared) -> list[Planted]:
    """Plant each defect, in models, data and computations, and return whether its check failed.

    Args:
        prepared: a text; training and held-out part must be apart.
    """
    windows = text_windows(prepared, None)
    count = min(50, windows.num_predicted // windows.block_size)
    pairs, size = Pairs(windows, count), windows.block_size
    found = [
        _planted(wrong.__name__.replace("_", " "), "perplexity calculation", check_perplexity(wrong)) for wrong in WRONG
    ]
    same = replace(prepared, validation=prepared.train)
    found.append(_planted("held-out text is the training text", "dataset overlap", check_overlap(same, None, size)))
    for kind, defect in ((Unshifted, "targets are not shifted"), (Repeated, "windows are repeated")):
        broken = kind(windows, count)
        found.append(_planted(defect, "sequence construction", check_construction(broken, size)))
    for sign, defect, name in (
        (1, "knows the held-out text", "plausible loss"),
        (-1, "is worse than chance", "better than chance"),
    ):
        score = evaluate_batches(Oracle(pairs, prepared.vocab_size, sign), DataLoader(pairs, 8))
        found.append(_planted(defect, name, *check_score(score, prepared.vocab_size)))
    for defect, name, fault in MODELS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Faulty(fault)
        findings = audit_language_model(model, VOCABULARY, audits=(name,))
        found.append(_planted(defect, name, *[of_finding(finding) for finding in findings]))
    return found


def _planted(defect: str, name: str, *checks: Check) -> Planted:
    caught = any(c.name == name and c.passed is False for c in checks)
    return Planted(defect=defect, check=name, caught=caught, report=Report(checks))
