"""Largest relative error of compiled mixers and models against eager ones; a program, without checked annotations.

The checks of shapes and types that tests run under are Python that a compiler cannot follow.
"""

import json
import sys

import torch
from torch import nn

from tests.contract.cases import MIXER_CASES, VOCAB, WIDTH, case_id, made, model, moved
from undula.models.config import BackboneConfig
from undula.models.fusion import SpectralCrossModalFusion
from undula.models.senses_config import AudioEncoderConfig, FusionConfig, VisionEncoderConfig
from undula.models.sound_encoder import SpectralAudioEncoder
from undula.models.vision_encoder import SpectralVisionEncoder
from undula.nn.wavelet import EnhancedWaveletTransform

COMPILED_MODELS = [
    ("plain", ("fft_conv", "attention"), "deepnorm"),
    ("wave", ("short_conv", "attention"), "pre_norm"),
    ("wave", ("short_conv",), "parallel", "slow pyramid"),
    ("wave", ("phase_coherent",), "phase_parallel"),
]
"""In float64: gradients of coherence's weights are a millionth of the others, and float32 rounds away their digits."""


WAVELETS = [("db4", False), ("db4", True), ("bior2.2", True)]
"""Wavelets, and whether their filters are learned."""


class ThereAndBack(nn.Module):
    """A projection, taken apart and put together with smaller details."""

    def __init__(self, name, learned):
        super().__init__()
        self.project, self.transform = nn.Linear(3, 3), EnhancedWaveletTransform(name, 2, use_learned=learned)

    def forward(self, x):
        approx, details = self.transform(self.project(x))
        return self.transform.inverse(approx, [d / 2 for d in details])


class Heard(nn.Module):
    """The features of two recordings, one of them shorter."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, lengths):
        return self.encoder(waveform=x, lengths=lengths)[0]


class HeardAndSeen(nn.Module):
    """Sound and pictures, fused."""

    def __init__(self, fusion):
        super().__init__()
        self.fusion = fusion

    def forward(self, sound, mask, pictures):
        return self.fusion(audio_features=(sound, mask), vision_features=pictures, length=6, vision_grid=(2, 3))


def encoders():
    """Return encoders of other senses than text, by name, and what they are called with."""

    def blocks(mixer):
        return BackboneConfig(d_model=8, num_layers=1, num_heads=2, mixers=(mixer,), d_ff=16)

    seeing = VisionEncoderConfig(channels=1, patch_size=2, backbone=blocks("grid_filter"))
    hearing = AudioEncoderConfig(sample_rate=2000, num_mels=6, causal=True, backbone=blocks("spectral_gate"))
    fusing = FusionConfig(widths={"audio": 4, "vision": 5}, backbone=blocks("spectral_gate"))
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 5])
    pictures, features = torch.randn(2, 1, 9, 6), (torch.randn(2, 9, 4), mask, torch.randn(2, 6, 5))
    return {
        "vision": (SpectralVisionEncoder(seeing), (pictures,)),
        "audio": (Heard(SpectralAudioEncoder(hearing)), (torch.randn(2, 300), torch.tensor([300, 170]))),
        "fusion": (HeardAndSeen(SpectralCrossModalFusion(fusing)), features),
    }


ENCODERS = ("vision", "audio", "fusion")


def error(module, *arguments):
    """Compare values and the gradients of all parameters; a break in the graph raises."""
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True)
    results = []
    for run in (compiled, module):
        y = run(*arguments)
        given = torch.autograd.grad(y.square().sum(), list(module.parameters()), allow_unused=True)
        results.append([y, *(gradient for gradient in given if gradient is not None)])
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*results, strict=True))


def main():
    torch.manual_seed(0)
    mask = torch.ones(2, 37, dtype=torch.bool)
    mask[1, :9] = False
    errors = {}
    for case in MIXER_CASES:
        mixer = made(case, torch.float32)
        errors[case_id(case)] = error(mixer, torch.randn(2, 37, WIDTH), mixer.traits.causal, mask)
    for case in COMPILED_MODELS:
        errors[str(case)] = error(model(*case).double().eval(), torch.randint(VOCAB, (2, 16)))
    for case in WAVELETS:
        errors[str(case)] = error(ThereAndBack(*case), torch.randn(2, 64, 3))
    for name, (module, arguments) in encoders().items():
        errors[name] = error(moved(module).eval(), *arguments)
    sys.stdout.write(json.dumps(errors))


if __name__ == "__main__":
    main()
