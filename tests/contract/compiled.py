"""Largest relative error of compiled mixers and models against eager ones; a program, without checked annotations.

The checks of shapes and types that tests run under are Python that a compiler cannot follow.
"""

import json
import sys

import torch
from torch import nn

from tests.contract.cases import MIXER_CASES, VOCAB, WIDTH, case_id, made, model
from undula.nn.wavelet import EnhancedWaveletTransform

COMPILED_MODELS = [
    ("plain", ("fft_conv", "attention"), "deepnorm"),
    ("wave", ("short_conv", "attention"), "pre_norm"),
    ("wave", ("short_conv",), "parallel", "slow pyramid"),
]


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


def error(module, *arguments):
    """Compare values and the gradients of all parameters; a break in the graph raises."""
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True)
    results = []
    for run in (compiled, module):
        y = run(*arguments)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(module.parameters()))])
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
        errors[str(case)] = error(model(*case).eval(), torch.randint(VOCAB, (2, 16)))
    for case in WAVELETS:
        errors[str(case)] = error(ThereAndBack(*case), torch.randn(2, 64, 3))
    sys.stdout.write(json.dumps(errors))


if __name__ == "__main__":
    main()
