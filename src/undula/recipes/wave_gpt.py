"""Wave-Native GPT in documented sizes, and its ablations: each differs from another one in exactly one factor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from undula.data.config import DataConfig
from undula.models.config import BackboneConfig, ModelConfig, PacketConfig
from undula.names import unknown_name
from undula.optim.config import OptimConfig
from undula.recipes.baseline import TUNED
from undula.recipes.changes import changed
from undula.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    """A documented size.

    Args:
        d_model: width; the feed-forward is 8/3 as wide.
        num_layers: blocks.
        num_heads: heads of each block.
        num_waves: waves of a token's packet, and of each head.
        block_size: tokens in a window.
        batch_size: windows in a step.
    """

    d_model: int
    num_layers: int
    num_heads: int
    num_waves: int
    block_size: int
    batch_size: int


SIZES: Mapping[str, Size] = {
    "tiny": Size(d_model=64, num_layers=2, num_heads=4, num_waves=8, block_size=64, batch_size=8),
    "mini": Size(d_model=128, num_layers=4, num_heads=4, num_waves=16, block_size=64, batch_size=12),
    "small": Size(d_model=384, num_layers=8, num_heads=8, num_waves=48, block_size=256, batch_size=16),
    "medium": Size(d_model=512, num_layers=10, num_heads=8, num_waves=64, block_size=384, batch_size=24),
    "large": Size(d_model=768, num_layers=12, num_heads=12, num_waves=96, block_size=512, batch_size=16),
}
"""`small`, `medium` and `large` as the reference document of Wave-Native GPT has them; `tiny` is for trying
out, `mini` for protocol P0 (0.8 M parameters)."""

NUM_HARMONICS = 4

Changes = Callable[[TrainConfig], dict[str, Any]]

FACTORS: Mapping[str, tuple[str, ...]] = {
    "attention": ("model.backbone.mixers", "model.backbone.mixer_options"),
    "embedding": ("model.packets.num_waves",),
    "annealing": ("model.packets.annealed", "annealing_steps"),
    "loss": ("loss.",),
    "optimizer": ("optim.",),
}
"""What an ablation may change, and where a configuration says it."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One factor of another experiment, changed.

    Args:
        parent: the experiment that it is held against; None: the first one.
        factor: what differs, a key of `FACTORS`; empty for the first one.
        what: in words.
        changes: the values that differ, by dotted path, given the parent's configuration.
    """

    parent: str | None = None
    factor: str = ""
    what: str
    changes: Changes = lambda _: {}


def wave_gpt(size: str = "small") -> TrainConfig:
    """Return a Wave-Native GPT as documented: wave packets and literal interference, with AdamW and cross entropy.

    Raises:
        ValueError: for an unknown size.
    """
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    chosen = SIZES[size]
    backbone = BackboneConfig(
        d_model=chosen.d_model,
        num_layers=chosen.num_layers,
        num_heads=chosen.num_heads,
        mixers=("interference",),
        mixer_options={"interference": {"num_waves": chosen.num_waves}},
        d_ff=8 * round(chosen.d_model / 3),
        dropout=0.1,
    )
    packets = PacketConfig(num_waves=chosen.num_waves, num_harmonics=NUM_HARMONICS)
    return TrainConfig(
        name="wave_gpt",
        model=ModelConfig(family="wave_gpt", backbone=backbone, packets=packets),
        data=DataConfig(block_size=chosen.block_size),
        optim=OptimConfig(learning_rate=1e-3, min_learning_rate=1e-4, warmup_steps=100),
        batch_size=chosen.batch_size,
        steps=800,
        eval_every=100,
        save_every=400,
    )


def _attention(mixer: str, **options: Any) -> Changes:
    """Another mixer, with as many waves as the old one; or, where it is the same one, further options."""

    def changes(config: TrainConfig) -> dict[str, Any]:
        (old,) = config.model.backbone.mixers
        before = config.model.backbone.mixer_options[old]
        kept = before if mixer == old else {"num_waves": before["num_waves"]}
        return {
            "model.backbone.mixers": (mixer,),
            "model.backbone.mixer_options": {mixer: {**kept, **options}},
        }

    return changes


def _plain_attention(config: TrainConfig) -> dict[str, Any]:
    return {"model.backbone.mixers": ("attention",), "model.backbone.mixer_options": {"attention": TUNED}}


def _annealed(config: TrainConfig) -> dict[str, Any]:
    return {"model.packets.annealed": True, "annealing_steps": max(1, config.steps // 3)}


def _table(config: TrainConfig) -> dict[str, Any]:
    return {"model.packets.num_waves": 0}


def _optimizer(config: TrainConfig) -> dict[str, Any]:
    # Its steps have the size of the gradient, not AdamW's: a learning rate of its own is part of the optimizer. The
    # force of every step is as documented.
    changes = {"optim.kind": "wave_native", "optim.learning_rate": 0.1, "optim.min_learning_rate": 0.01}
    return {**changes, "optim.wave_native.project_every": 1}


def _loss(config: TrainConfig) -> dict[str, Any]:
    return {"loss.kind": "wave_coherence"}


def _child(parent: str, factor: str, what: str, changes: Changes) -> Ablation:
    return Ablation(parent=parent, factor=factor, what=what, changes=changes)


ABLATIONS: Mapping[str, Ablation] = {
    "baseline": Ablation(what="wave packets, literal interference, AdamW, cross entropy"),
    "rgd_only": _child("baseline", "optimizer", "WaveNativeOptimizer instead of AdamW", _optimizer),
    "qfe_only": _child("baseline", "loss", "WaveCoherenceLoss instead of cross entropy", _loss),
    "full_physics": _child("rgd_only", "loss", "WaveCoherenceLoss and WaveNativeOptimizer", _loss),
    "annealed": _child("baseline", "annealing", "an embedding table faded out over a third of the steps", _annealed),
    "table": _child("baseline", "embedding", "an embedding table instead of packets", _table),
    "interference_sum": _child(
        "baseline", "attention", "weights divided by their sum", _attention("interference", normalisation="sum")
    ),
    "interference_contrast": _child(
        "interference_sum", "attention", "the fourth power of the weights", _attention("interference", contrast=4.0)
    ),
    "interference_evolved": _child(
        "interference_sum", "attention", "phases at their own time", _attention("interference", formulation="evolved")
    ),
    "interference_linear": _child(
        "interference_evolved", "attention", "as exact linear attention", _attention("interference_linear")
    ),
    "hybrid": _child("baseline", "attention", "softmax of cosines", _attention("cosine")),
    "pure_wave": _child("baseline", "attention", "products of waves, kernel elu + 1", _attention("pure_wave")),
    "pure_wave_sigmoid": _child("pure_wave", "attention", "kernel sigmoid", _attention("pure_wave", kernel="sigmoid")),
    "pure_wave_exp": _child("pure_wave", "attention", "kernel exp", _attention("pure_wave", kernel="exp")),
    "pure_wave_linear": _child("pure_wave", "attention", "the kernel on the waves", _attention("pure_wave_linear")),
    "attention": _child("baseline", "attention", "softmax attention, tuned", _plain_attention),
    "standard_transformer": _child("attention", "embedding", "a table too: the tuned transformer", _table),
}
"""By name; the order is that of tables. `rgd`, `qfe` are the documented names of the optimizer and the loss."""

ALIASES: Mapping[str, str] = {"wave_baseline": "baseline"}

STANDARD = "standard_transformer"
"""What all are held against."""


def ablated(name: str, base: TrainConfig) -> TrainConfig:
    """Return the configuration of an ablation.

    Args:
        name: of the ablation.
        base: the configuration of `baseline`, in its size, on its data.

    Raises:
        ValueError: for an unknown ablation.
    """
    name = ALIASES.get(name, name)
    if name not in ABLATIONS:
        raise unknown_name("experiment", name, ("all", *ABLATIONS, *ALIASES))
    ablation = ABLATIONS[name]
    parent = base if ablation.parent is None else ablated(ablation.parent, base)
    return replace(changed(parent, ablation.changes(parent)), name=name)
