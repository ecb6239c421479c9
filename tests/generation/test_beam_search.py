"""Beam search against the list of all sequences, on a model that is a table of random scores by prefix."""

import itertools
import math
import random

import pytest
import torch
from transformers import LogitsProcessorList, MinLengthLogitsProcessor, NoRepeatNGramLogitsProcessor
from transformers import RepetitionPenaltyLogitsProcessor as Repetition

from undula.generation.beam_search import BeamPlan, Stepper, beam_search

WORDS, END, LONGEST, POSITIONS = 4, 3, 6, 3
WIDE = WORDS * (WORDS - 1) ** (LONGEST - 2)


def table(sample, prefix):
    """Log-probabilities of the next word and weights of three source positions, at random but always the same."""
    draw = random.Random(f"{sample} {prefix}")
    scores = torch.tensor([draw.gauss(0, 1) for _ in range(WORDS)], dtype=torch.float64)
    weights = torch.tensor([draw.gauss(0, 2) for _ in range(POSITIONS)], dtype=torch.float64)
    return scores.log_softmax(0), weights.softmax(0)


class Table:
    """The table as a model; checks that its states are brought into the order of the beams."""

    def __init__(self, samples, beams, reorders=True):
        self.samples = [sample for sample in samples for _ in range(beams)]
        self.prefixes = [() for _ in self.samples]
        self.reorders = reorders

    def __call__(self, tokens):
        self.prefixes = [before + (row[-1],) for before, row in zip(self.prefixes, tokens.tolist(), strict=True)]
        found = [table(sample, prefix) for sample, prefix in zip(self.samples, self.prefixes, strict=True)]
        return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])

    def reorder(self, rows):
        if self.reorders:
            self.prefixes = [self.prefixes[i] for i in rows.tolist()]


def search(samples, beams, process=(), reorders=True, **plan):
    plan = BeamPlan(num_beams=beams, max_length=LONGEST, pad_token_id=9, **plan)
    prompt = torch.zeros(len(samples) * beams, 1, dtype=torch.long)
    model = Table(samples, beams, reorders)
    return beam_search(model, prompt, plan, LogitsProcessorList(process), lambda tokens: tokens[:, -1] == END)


def everything(sample, process=(), length_penalty=1.0, coverage_penalty=0.0, **unread):
    """All whole sequences of a sample with their scores, best first, by enumeration."""
    found = []
    for length in range(1, LONGEST):
        for words in itertools.product(range(WORDS), repeat=length):
            if END in words[:-1] or (words[-1] != END and length < LONGEST - 1):
                continue
            total, covered = 0.0, torch.zeros(POSITIONS, dtype=torch.float64)
            for t, word in enumerate(words):
                prefix = (0, *words[:t])
                scores, weights = table(sample, prefix)
                for change in process:
                    scores = change(torch.tensor([prefix]), scores[None].clone())[0]
                total, covered = total + float(scores[word]), covered + weights
            score = total / length**length_penalty
            score += coverage_penalty * sum(math.log(min(c, 1.0)) for c in covered.tolist())
            if score > -math.inf:
                found.append((score, [0, *words]))
    return sorted(found, reverse=True)


OPTIONS = {
    "plain": {},
    "no division": {"length_penalty": 0.0},
    "long": {"length_penalty": 3.0},
    "short": {"length_penalty": -1.0},
    "coverage": {"coverage_penalty": 2.0},
    "repetition": {"process": [Repetition(1.7)]},
    "no repeated pair": {"process": [NoRepeatNGramLogitsProcessor(2)]},
    "least length": {"process": [MinLengthLogitsProcessor(4, END)]},
    "stops never early": {"early_stopping": "never", "length_penalty": 2.0},
    "all": {"process": [Repetition(1.3), MinLengthLogitsProcessor(3, END)], "coverage_penalty": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_enough_beams_find_what_enumeration_finds(options):
    found = search([0, 1], WIDE, num_return=12, **options)
    for sample in (0, 1):
        want = everything(sample, **options)[:12]
        rows = found.sequences[12 * sample : 12 * sample + 12].tolist()
        assert [row[: row.index(END) + 1] if END in row else row for row in rows] == [words for _, words in want]
        assert found.scores[12 * sample : 12 * sample + 12].tolist() == pytest.approx([s for s, _ in want], abs=1e-10)
        assert all(word == 9 for row in rows if END in row for word in row[row.index(END) + 1 :])


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 1.0, 3.0])
def test_the_bound_of_never_loses_nothing(alpha):
    for sample in range(6):
        early = search([sample], 8, num_return=8, early_stopping="never", length_penalty=alpha)
        late = search([sample], 8, num_return=8, early_stopping="never", length_penalty=alpha, coverage_penalty=1e-12)
        assert torch.equal(early.sequences, late.sequences)


def test_early_stopping_stops_at_the_first_whole_sequences():
    class Counted(Table):
        calls = 0

        def __call__(self, tokens):
            self.calls += 1
            return super().__call__(tokens)

    steps = []
    for rule in (True, "never"):
        model = Counted([4], 2)
        plan = BeamPlan(num_beams=2, max_length=LONGEST, early_stopping=rule, length_penalty=5.0)
        beam_search(model, torch.zeros(2, 1, dtype=torch.long), plan, lambda ids, s: s, lambda ids: ids[:, -1] > 0)
        steps.append(model.calls)
    assert steps == [1, 5]


@pytest.mark.parametrize(
    "options",
    [
        {"num_return": 3},
        {"num_groups": 2, "diversity_penalty": 0.7, "num_return": 4},
        {"coverage_penalty": 1.0},
        {"early_stopping": True},
        {"early_stopping": "never", "length_penalty": 2.0},
    ],
    ids=str,
)
def test_a_sample_does_not_know_its_neighbours(options):
    count = options.get("num_return", 1)
    together = search([0, 1, 2, 3, 4], 4, **options)
    for sample in range(5):
        alone = search([sample], 4, **options)
        rows = together.sequences[count * sample : count * sample + count]
        assert torch.equal(rows[:, : alone.sequences.shape[1]], alone.sequences)
        assert (rows[:, alone.sequences.shape[1] :] == 9).all()
        assert torch.equal(together.scores[count * sample : count * sample + count], alone.scores)


def test_one_beam_is_greedy():
    for sample in range(5):
        prefix = (0,)
        while len(prefix) < LONGEST and prefix[-1] != END:
            prefix += (int(table(sample, prefix)[0].argmax()),)
        assert search([sample], 1, length_penalty=0.0).sequences[0].tolist() == list(prefix)


def test_results_are_wrong_when_states_are_not_reordered():
    right, wrong = (search([0, 1, 2], 4, reorders=reorders) for reorders in (True, False))
    assert not torch.equal(right.scores, wrong.scores)


def test_groups_take_other_words_and_keep_honest_scores():
    process = [MinLengthLogitsProcessor(LONGEST, END)]
    for sample in range(4):
        found = search([sample], 2, process, num_groups=2, num_return=2, diversity_penalty=1e3)
        (first, second), honest = found.sequences.tolist(), dict((tuple(w), s) for s, w in everything(sample, process))
        assert found.scores.tolist() == pytest.approx([honest[tuple(first)], honest[tuple(second)]])
        assert all(x != y for x, y in zip(first[1:], second[1:], strict=True))
        assert search([sample], 1, process).sequences[0].tolist() in (first, second)


def test_without_a_penalty_groups_search_alike():
    found = search([0], 4, num_groups=2, num_return=4)
    assert torch.equal(found.sequences[0], found.sequences[1])
    assert torch.equal(found.sequences[:2:2], search([0], 2).sequences)


def test_draws_follow_the_probabilities():
    first = []
    for seed in range(400):
        torch.manual_seed(seed)
        plan = BeamPlan(num_beams=1, max_length=2, do_sample=True)
        model = Table([0], 1)
        ids = beam_search(model, torch.zeros(1, 1, dtype=torch.long), plan, lambda i, s: s, lambda i: i[:, -1] == END)
        first.append(int(ids.sequences[0, 1]))
    share = torch.bincount(torch.tensor(first), minlength=WORDS) / 400
    assert (share - table(0, (0,))[0].exp()).abs().max() < 0.08


def test_too_tight_constraints_are_told():
    only = [lambda ids, scores: torch.where(torch.arange(WORDS) == END, scores, -torch.inf)]
    assert search([0], 4, only).sequences.tolist() == [[0, END]]
    with pytest.raises(ValueError, match=r"num_return_sequences=3, but for one sample there are only 1 sequences"):
        search([0], 4, only, num_return=3)


def test_the_table_is_a_stepper():
    assert isinstance(Table([0], 1), Stepper)
