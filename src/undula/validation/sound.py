"""The score of a codec on held-out recordings."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from undula.data.audio import Recording
from undula.models.audio_codec import AudioCodec
from undula.ops.distortion import si_sdr


@dataclass(frozen=True)
class SoundScore:
    """Scale-invariant signal-to-distortion ratios of whole recordings, in decibels.

    Args:
        ratios: by the recordings' names; NaN for a silent one, of which nothing can be said.
        seconds: of sound, silent recordings included.
    """

    ratios: dict[str, float]
    seconds: float = 0.0

    @property
    def known(self) -> list[float]:
        """The ratios of recordings that are not silent, lowest first."""
        return sorted(ratio for ratio in self.ratios.values() if not math.isnan(ratio))

    @property
    def mean(self) -> float:
        """The mean over recordings, each of which weighs the same; NaN of none."""
        return statistics.fmean(self.known) if self.known else math.nan

    @property
    def median(self) -> float:
        """The median over recordings; NaN of none."""
        return statistics.median(self.known) if self.known else math.nan

    def to_dict(self) -> dict[str, float]:
        """Return mean, median and lowest ratio by name."""
        return {
            "si_sdr": self.mean,
            "si_sdr_median": self.median,
            "si_sdr_lowest": self.known[0] if self.known else math.nan,
        }


def evaluate_codec(codec: AudioCodec, recordings: Sequence[Recording]) -> SoundScore:
    """Return the score over whole recordings, each coded on its own; the codec is left as it was."""
    device = next(codec.parameters()).device
    training, ratios = codec.training, {}
    codec.eval()
    try:
        with torch.no_grad():
            for recording in recordings:
                sound = recording.samples.to(device)[None]
                ratios[recording.name] = float(si_sdr(codec(sound), sound))
    finally:
        codec.train(training)
    return SoundScore(ratios, sum(len(r.samples) for r in recordings) / codec.config.sample_rate)
