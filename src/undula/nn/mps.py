"""Wavelet transforms for Apple's GPUs: the same function and parameters, by operations that these GPUs have.

No float64, no strided convolution, no writing in place: matrix products, padding and indexing. All of it runs on a CPU
as well, where tests hold it against the usual way.
"""

import os

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.nn.wavelet import EnhancedWaveletTransform


class MPSWaveletTransform(EnhancedWaveletTransform):
    """`EnhancedWaveletTransform` by plain operations on every device.

    Args:
        wavelet_type: any orthogonal or biorthogonal wavelet of PyWavelets.
        levels: how often the approximation is taken apart.
        mode: what lies outside of the sequence: periodization, reflect, symmetric or zero.
        use_learned: whether the filters are parameters.

    Source: SpectralLLM enhancements, section 5.
    """

    portable = True

    @classmethod
    def replacing(cls, transform: EnhancedWaveletTransform) -> "MPSWaveletTransform":
        """Return a transform with the very parameters, mode of training and counters of another."""
        made = cls(transform.wavelet_type, transform.levels, transform.mode, transform.use_learned)
        for name, parameter in transform.named_parameters():
            made.register_parameter(name, parameter)
        made.total_calls, made.error_count = transform.total_calls, transform.error_count
        return made.train(transform.training)

    def inverse_optimized(
        self, approx: Float[Tensor, "B M D"], details: list[Float[Tensor, "B _ D"]], length: int | None = None
    ) -> Float[Tensor, "B S D"]:
        """Return what `inverse` returns: there is one inverse, and it is this one."""
        return self.inverse(approx, details, length)

    def get_mps_stats(self) -> dict[str, object]:
        """Return the counts of `get_performance_stats`, the wavelet, the levels, and whether the device is Apple's."""
        return {
            **self.get_performance_stats(),
            "wavelet_type": self.wavelet_type,
            "levels": self.levels,
            "using_optimized": any(p.device.type == "mps" for p in self.parameters()),
        }


def optimize_for_mps(model: nn.Module, device: str | torch.device | None = None) -> nn.Module:
    """Return the model with every wavelet transform replaced by its `MPSWaveletTransform`.

    The function, the parameters (the same objects) and the names in the state_dict stay; a second call changes nothing.
    What holds a transform is changed in place, and a model that is a transform itself is replaced.

    Args:
        model: any module.
        device: where the model goes afterwards; None: it stays.
    """
    made: dict[int, MPSWaveletTransform] = {}

    def replaced(module: nn.Module) -> nn.Module:
        if not isinstance(module, EnhancedWaveletTransform) or isinstance(module, MPSWaveletTransform):
            return module
        if id(module) not in made:
            made[id(module)] = MPSWaveletTransform.replacing(module)
        return made[id(module)]

    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None:
                parent._modules[name] = replaced(child)
    result = replaced(model)
    return result if device is None else result.to(device)


def setup_mps_optimizations() -> dict[str, object]:
    """Return what there is on this machine for Apple's GPUs; nothing global is changed.

    `available`: whether torch finds such a GPU. `fallback`: whether operations that it lacks run on the CPU, which only
    PYTORCH_ENABLE_MPS_FALLBACK=1 in the environment of the process decides; the transforms here need none.
    """
    return {
        "available": torch.backends.mps.is_available(),
        "fallback": os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1",
    }
