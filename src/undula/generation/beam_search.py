"""Beam search over batches: lengths, groups that differ from each other, coverage of the source, several results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from undula.ops.topk import gumbel_like


@dataclass(frozen=True, kw_only=True)
class BeamPlan:
    """How to search.

    Args:
        num_beams: sequences that are followed at once.
        num_groups: groups of beams; each is a search of its own that is kept from the others' tokens.
        num_return: sequences that come back.
        max_length: of a sequence, its prompt included.
        diversity_penalty: taken off a token's score for each beam of an earlier group that takes it at the same step.
            It decides what is followed, and is no part of a result's score.
        length_penalty: alpha in log P / length^alpha; above 0 long sequences gain.
        coverage_penalty: beta in beta sum_j log min(sum_t a_tj, 1), added to the score of a whole sequence.
        early_stopping: True stops at num_beams whole sequences; "never" when no beam can become better than the worst
            of them; False already when none could at its present length, as transformers does.
        do_sample: draw continuations, instead of taking the best.
        pad_token_id: fills rows after their end.
    """

    num_beams: int
    num_groups: int = 1
    num_return: int = 1
    max_length: int
    diversity_penalty: float = 0.0
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    early_stopping: bool | Literal["never"] = False
    do_sample: bool = False
    pad_token_id: int = 0

    @property
    def group_size(self) -> int:
        """Beams of a group."""
        return self.num_beams // self.num_groups


@runtime_checkable
class Stepper(Protocol):
    """A model that is asked for one step at a time, one row for each beam of each sample."""

    def __call__(self, tokens: Int[Tensor, "R t"]) -> tuple[Float[Tensor, "R V"], Float[Tensor, "R S"] | None]:
        """Return the scores of the next token, and the weights of source positions (1 at padding), if there are any."""
        ...

    def reorder(self, rows: Int[Tensor, " R"]) -> None:
        """Take the states of the rows in another order."""
        ...


@dataclass(frozen=True)
class Hypotheses:
    """What a search found, best first within each sample.

    Args:
        sequences: (B * num_return, T), padded after their ends.
        scores: of each, with the penalties of length and coverage.
    """

    sequences: Int[Tensor, "R T"]
    scores: Float[Tensor, " R"]


Process = Callable[..., Tensor]
"""From tokens (R, t) and log-probabilities (R, V) to scores (R, V), such as a `LogitsProcessorList`."""
Ends = Callable[[Tensor], Tensor]
"""From tokens (N, t) to which rows are whole (N), such as a `StoppingCriteriaList`; at max_length all are."""


@dataclass
class _Candidates:
    """Continuations of a group's beams, best first: sum of scores, what chose them, beam of the group, token."""

    total: Float[Tensor, "B C"]
    key: Float[Tensor, "B C"]
    beam: Int[Tensor, "B C"]
    token: Int[Tensor, "B C"]


def beam_search(
    step: Stepper, prompt: Int[Tensor, "R P"], plan: BeamPlan, process: Process, ends: Ends, num_ends: int = 1
) -> Hypotheses:
    """Return the best sequences: those with the largest sum of scores / length^alpha + coverage.

    A sequence's length counts the tokens after the prompt, its end included. Samples do not know of each other. States
    are taken in the beams' order, nothing is computed twice.

    Args:
        step: the model.
        prompt: num_beams equal rows for each sample.
        plan: how to search.
        process: changes log-probabilities, step by step.
        ends: says which sequences are whole.
        num_ends: number of tokens that end a sequence, so that enough continuations are looked at.

    Raises:
        ValueError: when the constraints leave fewer sequences than asked for.

    Source: Vijayakumar et al., "Diverse Beam Search", arXiv 1610.02424; Wu et al., arXiv 1609.08144, section 7 (length
    and coverage).
    """
    beams, start = plan.num_beams, prompt.shape[1]
    samples = len(prompt) // beams
    search = _Search(prompt.view(samples, beams, start), plan)
    for length in range(start, plan.max_length):
        tokens = search.tokens[:, :, :length].flatten(0, 1)
        scores, weights = step(tokens)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)
        search.cover(weights)
        rows = search.advance(process(tokens, scores).unflatten(0, (samples, beams)), length, ends, num_ends)
        if bool(search.done.all()) or length + 1 == plan.max_length:
            break
        step.reorder(rows)
    return search.results()


class _Search:
    """Beams (B, K) that go on, and the whole sequences (B, G, k) of each group."""

    def __init__(self, prompt: Int[Tensor, "B K P"], plan: BeamPlan) -> None:
        self.plan = plan
        samples, beams, self.start = prompt.shape
        groups, size = plan.num_groups, plan.group_size
        self.tokens = prompt.new_full((samples, beams, plan.max_length), plan.pad_token_id)
        self.tokens[:, :, : self.start] = prompt
        # Equal beams would go the same way: only the first of each group is there at the start.
        self.total = torch.full((samples, beams), -torch.inf, device=prompt.device)
        self.total[:, ::size] = 0.0
        self.covered: Tensor | None = None
        self.whole = prompt.new_full((samples, groups, size, plan.max_length), plan.pad_token_id)
        self.scores = torch.full((samples, groups, size), -torch.inf, device=prompt.device)
        self.lengths = prompt.new_full((samples, groups, size), self.start)
        self.done = torch.zeros(samples, groups, dtype=torch.bool, device=prompt.device)

    def cover(self, weights: Float[Tensor, "R S"] | None) -> None:
        """Take note of what this step reads of the source."""
        if weights is not None:
            weights = weights.unflatten(0, self.total.shape)
            self.covered = weights if self.covered is None else self.covered + weights

    def advance(self, scores: Float[Tensor, "B K V"], length: int, ends: Ends, num_ends: int) -> Int[Tensor, " R"]:
        """Go on by one token; return which rows the beams come from."""
        self.total, self.scores = self.total.to(scores.dtype), self.scores.to(scores.dtype)
        size = self.plan.group_size
        taken = scores.new_zeros(len(scores), scores.shape[-1])
        kept: list[tuple[Tensor, Tensor, Tensor]] = []
        for group in range(self.plan.num_groups):
            mine = slice(group * size, (group + 1) * size)
            found = self._candidates(mine, scores[:, mine], taken, size * max(2, 1 + num_ends))
            rows = found.beam + group * size
            grown = self.tokens.gather(1, rows[..., None].expand(-1, -1, self.tokens.shape[-1]))
            grown[:, :, length] = found.token
            whole = ends(grown[:, :, : length + 1].flatten(0, 1)).view(rows.shape) | (length + 1 == grown.shape[-1])
            self._collect(group, found, grown, rows, whole, length + 1)
            order = found.key.masked_fill(whole, -torch.inf).topk(size, dim=1).indices
            total = found.total.masked_fill(whole, -torch.inf).gather(1, order)
            new = found.token.gather(1, order)
            if length + 1 == grown.shape[-1]:
                # Nothing goes on from the last step; what was taken there are the sequences that were kept.
                new, reached = found.token[:, :size], found.total[:, :size]
            else:
                reached = total
            going = (reached > -torch.inf) & ~self.done[:, group, None]
            taken.scatter_add_(1, new, going.to(taken.dtype))
            grown = grown.gather(1, order[..., None].expand(-1, -1, grown.shape[-1]))
            kept.append((total, rows.gather(1, order), grown))
        totals, rows, tokens = (torch.cat(parts, dim=1) for parts in zip(*kept, strict=True))
        self.total, self.tokens = totals, tokens
        if self.covered is not None:
            self.covered = self.covered.gather(1, rows[..., None].expand(-1, -1, self.covered.shape[-1]))
        self._stop(length + 1)
        return (rows + torch.arange(len(rows), device=rows.device)[:, None] * self.plan.num_beams).flatten()

    def _candidates(
        self, mine: slice, scores: Float[Tensor, "B k V"], taken: Float[Tensor, "B V"], count: int
    ) -> _Candidates:
        vocabulary = scores.shape[-1]
        total = (self.total[:, mine, None] + scores).flatten(1)
        key = total
        if self.plan.diversity_penalty:
            key = (total.view(scores.shape) - self.plan.diversity_penalty * taken[:, None]).flatten(1)
        if self.plan.do_sample:
            # The largest of noisy logarithms, in their order, are draws without replacement.
            key = key + gumbel_like(key)
        key, best = key.topk(min(count, total.shape[1]), dim=1)
        return _Candidates(total.gather(1, best), key, best // vocabulary, best % vocabulary)

    def _collect(
        self, group: int, found: _Candidates, grown: Tensor, rows: Tensor, whole: Bool[Tensor, "B C"], length: int
    ) -> None:
        """Keep the best whole sequences, of those before and those among the best continuations."""
        size = self.plan.group_size
        score = found.total / (length - self.start) ** self.plan.length_penalty
        if self.covered is not None and self.plan.coverage_penalty:
            floor = torch.finfo(self.covered.dtype).tiny
            each = self.covered.clamp(floor, 1.0).log().sum(-1)
            score = score + self.plan.coverage_penalty * each.gather(1, rows)
        among = torch.arange(whole.shape[1], device=whole.device) < size
        fits = whole & among & ~self.done[:, group, None]
        score = torch.cat([self.scores[:, group], score.masked_fill(~fits, -torch.inf)], dim=1)
        self.scores[:, group], best = score.topk(size, dim=1)
        lengths = torch.cat([self.lengths[:, group], torch.full_like(rows, length)], dim=1)
        self.lengths[:, group] = lengths.gather(1, best)
        sequences = torch.cat([self.whole[:, group], grown], dim=1)
        self.whole[:, group] = sequences.gather(1, best[..., None].expand(-1, -1, sequences.shape[-1]))

    def _stop(self, length: int) -> None:
        """See which groups are done: by the rule of the plan, or because nothing goes on."""
        alpha, rule = self.plan.length_penalty, self.plan.early_stopping
        best = self.total.unflatten(1, self.done.shape[1:] + (-1,)).amax(-1)
        worst = self.scores.amin(-1)
        if rule is True:
            stop = worst > -torch.inf
        else:
            # Scores are sums of logarithms, so they fall; dividing by the longest length is kindest when alpha > 0.
            reach = self.plan.max_length if rule == "never" and alpha > 0 else length
            stop = (worst > -torch.inf) & (best / (reach - self.start) ** alpha <= worst)
        self.done = self.done | stop | (best == -torch.inf)

    def results(self) -> Hypotheses:
        """Return the best sequences of all groups."""
        count = self.plan.num_return
        scores, best = self.scores.flatten(1).topk(count, dim=1)
        if bool((scores == -torch.inf).any()):
            found = int((self.scores > -torch.inf).sum(dim=(1, 2)).min())
            raise ValueError(
                f"num_return_sequences={count}, but for one sample there are only {found} sequences within the "
                "constraints; ask for fewer, or loosen them"
            )
        longest = int(self.lengths.flatten(1).gather(1, best).max())
        sequences = self.whole.flatten(1, 2)[:, :, :longest]
        sequences = sequences.gather(1, best[..., None].expand(-1, -1, longest)).flatten(0, 1)
        return Hypotheses(sequences, scores.flatten())
