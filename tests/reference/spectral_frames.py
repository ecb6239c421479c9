"""The spectral_frames mixer by definition, in float64: row by row, without its padding."""

import numpy as np

from tests.reference import overlap, spectrum
from tests.reference.attention import rms_norm
from tests.reference.convolution import gated

LIMIT = 2.0


def part(p, prefix):
    return {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}


def modulated(spectra, p, width, count):
    """Frames (C, F, D), scaled in bands by learned scales and by what all frames hold."""
    bands = overlap.log_bands(np.arange(spectra.shape[1]) / width, count)
    summaries = np.log1p(
        np.einsum("nf,cfd->cnd", bands, np.abs(spectra) ** 2) / np.maximum(bands.sum(1), 1e-9)[:, None]
    )
    gains = np.ones(spectra.shape)
    for n in range(count):
        rows = rms_norm(summaries[:, n], p["chunk_fusion.norm.weight"])
        q, k, v = np.split(rows @ p["chunk_fusion.in_proj.weight"].T, 3, axis=-1)
        q, k = (np.where(z > 0, 1 + z, np.exp(np.minimum(z, 0))) for z in (q, k))
        weights = q @ k.T
        logs = p["band_scales"][n] + weights / weights.sum(1, keepdims=True) @ v @ p["chunk_fusion.out_proj.weight"].T
        gains = gains * np.exp(bands[n][:, None] * (LIMIT * np.tanh(logs / LIMIT))[:, None])
    return spectra * gains


def frames(u, p, heads, chunk_size=256, overlap_ratio=0.5, num_freq_bands=4, sparsity=0.15, adaptive=True, **others):
    """One row (T, D) without padding."""
    hop = chunk_size - int(chunk_size * overlap_ratio)
    own = part(p, "frames.")
    if "fade_steps" in own:
        window = overlap.power_fades(own["fade_steps"], chunk_size - hop, chunk_size)
    else:
        window = overlap.tight(overlap.mixed_window(own["window_logits"], chunk_size), hop)
    cut = np.stack([overlap.framed(u[:, d], chunk_size, hop) for d in range(u.shape[1])], -1) * window[:, None]
    spectra = modulated(np.fft.rfft(cut, axis=1, norm="ortho"), own, chunk_size, num_freq_bands)
    done = np.zeros_like(spectra)
    for c, x in enumerate(spectra):
        # A filter leaves each bin to itself, so what is not kept may be left out before or after.
        done[c], _ = spectrum.gating(x, part(p, "gating."), heads, num_freq_bands)
        if sparsity is not None:
            share = None if adaptive else sparsity
            chosen = spectrum.selection(x, part(p, "selector."), heads, num_freq_bands, share)
            done[c] *= chosen.T.repeat(x.shape[1] // heads, axis=1)
    back = np.fft.irfft(done, chunk_size, axis=1, norm="ortho") * window[:, None]
    whole = np.stack([overlap.overlap_add(back[..., d], hop) for d in range(u.shape[1])], -1)
    return whole[chunk_size - hop :][: len(u)]


def mixer(x, p, heads, mask=None, **options):
    """(B, T, D); outputs at padding are 0 times the gate."""

    def mix(u):
        y = np.zeros_like(u)
        for row in range(len(u)):
            real = np.arange(u.shape[1]) if mask is None else np.flatnonzero(mask[row])
            if len(real):
                here = slice(real[0], real[-1] + 1)
                y[row, here] = frames(u[row, here], p, heads, **options)
        return y

    return gated(x, p, mask, mix)
