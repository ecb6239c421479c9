"""Several senses as one sequence: waves on a common interval, each with the gates and phases of its sense."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.models.backbone import Backbone
from undula.models.init import initialise
from undula.models.senses_config import SENSES, FusionConfig
from undula.models.spectral_config import SpectralConfig
from undula.names import unknown_name
from undula.nn.pooling import MeanPooling
from undula.ops.dft import split
from undula.ops.half_waves import Grid, grid_amplitudes, grid_samples, masked_amplitudes, samples, turned
from undula.ops.phase import full_precision
from undula.ops.spectral_bands import log_bands

FASTEST = 128
"""Half waves of the whole interval that count as one cycle per step where bands are chosen: the highest band is centred
at 32 half waves, the others at 8, 2 and 1/2."""

SMALL = 0.02
"""Spread that what stands for a missing sense starts with."""

# Senses have positions and widths of their own, and the message on batches that differ is ours.
Features = Float[Tensor, "_ _ _"]
Mask = Int[Tensor, "_ _"] | Bool[Tensor, "_ _"] | Float[Tensor, "_ _"]
Sense = Features | tuple[Features, Mask | None]
"""Features of a sense, or those and which of their positions are real."""


class SpectralCrossModalFusion(nn.Module):
    """One sequence (B, N, D) of several senses: backbone(sum over senses of gated, turned waves on a common interval).

    Every sense lasts from 0 to 1, whatever its number of positions: its first N waves cos(pi k u) are taken from its
    real positions (exact for what has fewer waves; nothing wraps around). Each wave is then multiplied by a gate and
    turned by an angle, that is by g e^(i theta), which depend on the sense by name, on the band of frequency, on the
    head, and on the means of this sense and of all. Bands count waves of the interval, so the fused signal does not
    depend on N. A sense that is missing, or has no real position in a row, adds a learned vector instead.

    Args:
        config: the fusion; of a documented model, with all senses as wide as it is.

    Raises:
        ValueError: for no sense, an unknown one, or as `Backbone` does.

    Attributes: from_sense, gates, angles and missing, by sense; backbone; d_model.

    Source: Spectral Neural Networks, cross-modal fusion.
    """

    def __init__(self, config: SpectralConfig | FusionConfig) -> None:
        super().__init__()
        plan = config.fusion() if isinstance(config, SpectralConfig) else config
        if not plan.widths or plan.num_bands < 1:
            raise ValueError(f"widths={plan.widths}, num_bands={plan.num_bands}; wanted at least one of both")
        for name in plan.widths:
            if name not in SENSES:
                raise unknown_name("sense", name, SENSES)
        # In one order, so that the plan's own leaves no trace.
        self.widths = {name: plan.widths[name] for name in SENSES if name in plan.widths}
        self.d_model, self.num_heads, self.num_bands = plan.backbone.d_model, plan.backbone.num_heads, plan.num_bands
        outputs = self.num_heads * self.num_bands
        self.from_sense = nn.ModuleDict({name: nn.Linear(width, self.d_model) for name, width in self.widths.items()})
        self.gates = nn.ModuleDict({name: nn.Linear(2 * self.d_model, outputs) for name in self.widths})
        self.angles = nn.ModuleDict({name: nn.Linear(2 * self.d_model, outputs) for name in self.widths})
        self.missing = nn.ParameterDict({name: nn.Parameter(SMALL * torch.randn(self.d_model)) for name in self.widths})
        self.pooling = MeanPooling()
        self.backbone = Backbone(plan.backbone)
        initialise(self, plan.backbone.num_layers)

    def forward(
        self,
        text_features: Sense | None = None,
        vision_features: Sense | None = None,
        audio_features: Sense | None = None,
        video_features: Sense | None = None,
        *,
        length: int,
        vision_grid: Grid | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Return the fused sequence.

        Args:
            text_features, vision_features, audio_features, video_features: (B, S, width), or a pair of these and a mask
                (B, S), 1 = real; None: missing.
            length: positions N of the result.
            vision_grid: rows and columns of the patches, which are then resampled in both directions, to the two
                factors of N that are nearest to each other; None: they are a sequence, row by row.

        Raises:
            ValueError: for no sense at all, one that the fusion was built without, another width, masks or batches that
                do not fit, or a length below 1.
        """
        given = {"text": text_features, "vision": vision_features, "audio": audio_features, "video": video_features}
        senses = {name: _pair(sense) for name, sense in given.items() if sense is not None}
        self._check(senses, length, vision_grid)
        return self.backbone(self.fused(senses, length, vision_grid), False)

    def fused(
        self,
        senses: Mapping[str, tuple[Features, Bool[Tensor, "_ _"] | None]],
        length: int,
        vision_grid: Grid | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Return the sum of the senses' waves, before the blocks; added up in float32 or wider."""
        known = {name: self.from_sense[name](x) for name, (x, _) in senses.items()}
        means = {name: self.pooling(x, senses[name][1]) for name, x in known.items()}
        there = {name: None if real is None else real.any(1) for name, (_, real) in senses.items()}
        joint = _mean(means, there)
        wide = torch.promote_types(joint.dtype, torch.float32)
        cosines = sines = torch.zeros(len(joint), length, self.d_model, device=joint.device, dtype=wide)
        for name in self.widths:
            # What stands for a missing sense is constant: wave 0.
            instead = torch.zeros_like(cosines)
            instead[:, 0] = self.missing[name]
            if name not in known:
                cosines = cosines + instead
                continue
            grid = vision_grid if name == "vision" else None
            with full_precision(joint):
                waves = self._waves(known[name].to(wide), senses[name][1], length, grid)
            real, imag = self.turned(name, waves, means[name], joint)
            here = there[name]
            if here is not None:
                # The waves of nothing are 0.
                real = torch.where(here[:, None, None], real, instead)
            cosines, sines = cosines + real, sines + imag
        with full_precision(joint):
            return samples(cosines, sines, length).to(joint.dtype)

    def turned(
        self, name: str, waves: Float[Tensor, "B N D"], mean: Float[Tensor, "B D"], joint: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
        """Return the amplitudes of cosines and sines of a sense's waves after its gates and angles."""
        condition = torch.cat([mean, joint], 1)
        place = torch.arange(waves.shape[1], device=waves.device, dtype=waves.dtype) / FASTEST
        bands = log_bands(place, self.num_bands)
        gates = self._by_channel(2 * torch.sigmoid(self.gates[name](condition)), bands)
        return turned(gates * waves, self._by_channel(self.angles[name](condition), bands))

    def _by_channel(
        self, values: Float[Tensor, "B heads_bands"], bands: Float[Tensor, "bands K"]
    ) -> Float[Tensor, "B K D"]:
        """What is said for each band of each head, at every wave of every channel."""
        with full_precision(bands):
            by_head = values.to(bands.dtype).unflatten(-1, (self.num_heads, self.num_bands)) @ bands
        return by_head.transpose(1, 2).repeat_interleave(self.d_model // self.num_heads, -1)

    def _waves(
        self, x: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"] | None, length: int, grid: Grid | None
    ) -> Float[Tensor, "B N D"]:
        """The amplitudes of a sense's first waves; those of an image are taken after it has N patches."""
        if grid is None:
            return masked_amplitudes(x, length, real)
        if real is not None:
            x = torch.where(real[..., None], x, self.pooling(x, real)[:, None])
        wanted = split(length)
        counts = min(grid[0], wanted[0]), min(grid[1], wanted[1])
        image = grid_amplitudes(x.unflatten(1, grid), *counts)
        return masked_amplitudes(grid_samples(image[:, None, :, None], wanted).flatten(1, 2), length)

    def _check(self, senses: Mapping[str, tuple[Tensor, Tensor | None]], length: int, grid: Grid | None) -> None:
        if not senses:
            raise ValueError("got no sense; give the features of at least one, such as audio_features")
        if length < 1:
            raise ValueError(f"length={length}; wanted at least one position")
        rows = {name: len(x) for name, (x, _) in senses.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"got batches of {rows}; wanted one size for all senses")
        for name, (x, real) in senses.items():
            if name not in self.widths:
                raise unknown_name("sense of this fusion", name, self.widths)
            if x.shape[2] != self.widths[name] or x.shape[1] < 1:
                raise ValueError(
                    f"{name}_features have the shape {tuple(x.shape)}; wanted (batch, at least one position, "
                    f"{self.widths[name]})"
                )
            if real is not None and real.shape != x.shape[:2]:
                raise ValueError(
                    f"the mask of {name}_features has the shape {tuple(real.shape)}; wanted {tuple(x.shape[:2])}"
                )
        if grid is not None and ("vision" not in senses or grid[0] * grid[1] != senses["vision"][0].shape[1]):
            raise ValueError(f"vision_grid={grid}; wanted (rows, columns) whose product is the number of patches")


def _pair(sense: Sense) -> tuple[Tensor, Tensor | None]:
    """Features, and which positions are real (None: all)."""
    x, mask = sense if isinstance(sense, tuple) else (sense, None)
    return x, None if mask is None else mask.bool()


def _mean(means: Mapping[str, Tensor], there: Mapping[str, Tensor | None]) -> Float[Tensor, "B D"]:
    """The mean of the senses that a row has."""
    has = []
    for name, x in means.items():
        here = there[name]
        has.append(torch.ones_like(x[:, 0]) if here is None else here.to(x.dtype))
    # The mean of a sense without a real position is 0 already.
    return torch.stack(list(means.values())).sum(0) / torch.stack(has).sum(0).clamp_min(1)[:, None]
