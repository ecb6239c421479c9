"""A whole training run of a translator as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass, field
from typing import Literal

from undula.data.config import ParallelDataConfig
from undula.models.config import EncoderDecoderConfig
from undula.training.config import RunConfig

TRANSLATION = "translation"
"""What the configuration of such a run says in `task`; that of a language model has no such key."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How translations are searched; see `BeamPlan` for what the numbers do.

    Args:
        num_beams: sequences that are followed at once; 1: greedy.
        length_penalty: above 0 longer translations gain.
        coverage_penalty: above 0 translations gain that read every token of the source.
        max_length: longest translation, in tokens.

    Raises:
        ValueError: for a value out of range.
    """

    num_beams: int = 1
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    max_length: int = 100

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams={self.num_beams}; wanted at least 1")
        if self.max_length < 2:
            raise ValueError(f"max_length={self.max_length}; wanted at least 2: the begin and one token")
        if not self.coverage_penalty >= 0:
            raise ValueError(f"coverage_penalty={self.coverage_penalty}; wanted 0 or more")


@dataclass(frozen=True, kw_only=True)
class TranslationTrainConfig(RunConfig):
    """Everything that decides the run of a translator; see `RunConfig` for the rest.

    Args:
        task: `translation`.
        model: what is trained; its vocab_size is taken from the tokenizer when the run starts.
        data: what it is trained and scored on.
        search: how it translates when it is scored.
        label_smoothing: share of each label that is spread over all tokens.
        eval_batch_size: held-out pairs in one forward pass.

    Raises:
        ValueError: for a value out of range or an unknown name.
    """

    task: Literal["translation"] = TRANSLATION
    model: EncoderDecoderConfig = field(default_factory=EncoderDecoderConfig)
    data: ParallelDataConfig = field(default_factory=ParallelDataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    label_smoothing: float = 0.1
    batch_size: int = 64
    log_every: int = 20
    eval_every: int = 1000
    eval_batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}; wanted a share from 0 to below 1")
        if self.eval_batch_size < 1:
            raise ValueError(f"eval_batch_size={self.eval_batch_size}; wanted at least 1")
        longest = self.model.context_length
        if longest is not None and longest < max(self.data.max_tokens, self.search.max_length):
            raise ValueError(
                f"model.context_length={longest} is less than data.max_tokens={self.data.max_tokens} or "
                f"search.max_length={self.search.max_length}; raise it or lower these"
            )
