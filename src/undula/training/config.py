"""A whole training run as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from undula.data.config import DataConfig
from undula.losses.config import LossConfig
from undula.models.config import ModelConfig
from undula.names import unknown_name
from undula.optim.config import OptimConfig

CurriculumMode = Literal["linear", "exponential", "cosine"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
DeviceName = Literal["auto", "cpu"]
TrackerName = Literal["trackio", "tensorboard"]


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """From low frequencies to all of them, for models with a `freq_limit`; see `FrequencyCurriculumScheduler`."""

    share: float = 0.0
    """Share of the run's steps after which all frequencies are heard; 0: no curriculum."""
    start: float = 0.1
    """Share of the frequencies at the start."""
    warmup_steps: int = 0
    mode: CurriculumMode = "cosine"
    adaptive: bool = False
    """Wait when the held-out loss does not improve."""
    patience: int = 500


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """Evolution of the wavelets' rotation angles while training goes on; see `HRFEvoController`."""

    every: int = 0
    """Steps between two evolutions; 0: none."""
    population: int = 8
    generations: int = 2
    windows: int = 32
    """Windows that choose, and as many again that confirm: of the end of the training text, which is not trained on."""

    def __post_init__(self) -> None:
        for name, least in (("every", 0), ("population", 2), ("generations", 1), ("windows", 8)):
            if getattr(self, name) < least:
                raise ValueError(f"evolution.{name}={getattr(self, name)}; wanted at least {least}")

    @property
    def reserved(self) -> int:
        """Windows that are not trained on."""
        return 2 * self.windows if self.every else 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What decides a run, whatever it trains.

    Args:
        name: what the run is called in tables, pictures and trackers.
        optim: how the parameters are updated.
        steps: updates of the parameters.
        batch_size: windows of text, or pieces of recordings, in one forward pass, on each process.
        accumulation: forward passes in one step.
        seed: of start values, dropout and the choice of windows or pieces.
        log_every: steps between two lines of metrics.
        eval_every: steps between two scores of what is held out; the last step is always scored.
        save_every: steps between two checkpoints; the last step is always saved.
        keep_checkpoints: how many of the newest checkpoints stay.
        precision: `bfloat16` runs matrix products in bfloat16 (parameters and FFTs stay float32), `auto` does so on a
            GPU that has it.
        device: `auto` takes an accelerator where there is one.
        compile: pass the model through torch.compile.
        trackers: send the metrics to these, too.

    Raises:
        ValueError: for a value out of range or an unknown name.
    """

    name: str
    optim: OptimConfig = field(default_factory=OptimConfig)
    steps: int = 2000
    batch_size: int = 12
    accumulation: int = 1
    seed: int = 0
    log_every: int = 10
    eval_every: int = 250
    save_every: int = 500
    keep_checkpoints: int = 2
    precision: PrecisionName = "auto"
    device: DeviceName = "auto"
    compile: bool = False
    trackers: tuple[TrackerName, ...] = ()

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "accumulation", "log_every", "eval_every", "save_every", "keep_checkpoints")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; wanted at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed}; wanted 0 up to 2^32 - 1")
        for field_name, kind in (("precision", PrecisionName), ("device", DeviceName)):
            if getattr(self, field_name) not in get_args(kind):
                raise unknown_name(field_name, str(getattr(self, field_name)), get_args(kind))
        for tracker in self.trackers:
            if tracker not in get_args(TrackerName):
                raise unknown_name("tracker", str(tracker), get_args(TrackerName))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """Everything that decides the run of a language model; see `RunConfig` for the rest.

    Args:
        model: what is trained; its vocab_size is taken from the tokenizer when the run starts.
        data: what it is trained and scored on.
        loss: what is made small.
        curriculum: which frequencies it hears, and when.
        settling: share of the steps after which a model that settles on some of its harmonics does so; 0 for others.
        annealing_steps: steps over which the share of the embedding table beside wave packets falls from 1 to 0; 0 for
            models without one.
        evolution: how the wavelets evolve, in models that have some.
        spectral_gap: held-out windows whose features' spectral gap is measured at each score; 0: none.
        eval_batch_size: held-out windows in one forward pass.
        piece: tokens that the model reads at a time, in training and in scoring, carrying its state with the gradient:
            the same loss in the memory of one piece, see `loss_in_pieces`; 0: all of a window.

    Raises:
        ValueError: for a value out of range or an unknown name.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    settling: float = 0.0
    annealing_steps: int = 0
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    spectral_gap: int = 0
    eval_batch_size: int = 64
    piece: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.piece < 0:
            raise ValueError(f"piece={self.piece}; wanted a number of tokens, or 0 to read windows whole")
        if self.piece and self.loss.kind != "cross_entropy":
            raise ValueError(
                f"piece={self.piece} with loss.kind={self.loss.kind!r}, which needs windows whole; piece=0"
            )
        if self.eval_batch_size < 1 or self.spectral_gap < 0:
            raise ValueError(
                f"eval_batch_size={self.eval_batch_size}, spectral_gap={self.spectral_gap}; wanted at least 1 and 0"
            )
        self._check_annealing()
        self._check_curriculum()
        self._check_settling()
        longest = self.model.context_length
        if longest is not None and longest < self.data.block_size:
            raise ValueError(
                f"data.block_size={self.data.block_size} is longer than model.context_length={longest}; "
                "lower the one or raise the other"
            )

    def _check_curriculum(self) -> None:
        limited = self.model.family == "wave" and self.model.freq_limit != "none"
        share = self.curriculum.share
        if not 0 <= share <= 1:
            raise ValueError(f"curriculum.share={share}; wanted a share of the steps, 0 to 1")
        if limited != (share > 0):
            raise ValueError(
                f"curriculum.share={share}, and the model "
                + ("has a freq_limit; give the share" if limited else "has no freq_limit")
                + " (model.freq_limit, of the family wave)"
            )

    def _check_settling(self) -> None:
        settles = self.model.family == "wave" and self.model.sparsity.settles
        if not 0 <= self.settling < 1:
            raise ValueError(f"settling={self.settling}; wanted a share of the steps, 0 up to less than 1")
        if settles != (self.settling > 0):
            raise ValueError(
                f"settling={self.settling}, and the model "
                + ("settles; give the share of the steps" if settles else "does not settle")
                + " (model.sparsity.settles, of the family wave)"
            )

    def _check_annealing(self) -> None:
        annealed = self.model.family == "wave_gpt" and self.model.packets.annealed
        if annealed != (self.annealing_steps > 0):
            raise ValueError(
                f"annealing_steps={self.annealing_steps}, and the model "
                + ("has a table to fade out; give the steps" if annealed else "has no table to fade out")
                + " (model.packets.annealed, of the family wave_gpt)"
            )
