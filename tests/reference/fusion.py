"""The fusion of senses by definition, one row at a time, in float64."""

import numpy as np

from tests.reference.half_waves import band_weights, series, sigmoid


def fused(senses, p, names, length, heads, num_bands):
    """Rows {name: (S, W)} of real positions alone to (N, D), before the blocks; other names are missing."""
    known = {n: x @ p[f"from_sense.{n}.weight"].T + p[f"from_sense.{n}.bias"] for n, x in senses.items()}
    joint = np.mean([x.mean(0) for x in known.values()], axis=0)
    width = len(joint)
    out = np.zeros((length, width))
    for name in names:
        if name not in known:
            out += p[f"missing.{name}"]
            continue
        x = known[name]
        condition = np.concatenate([x.mean(0), joint])
        said = {
            part: (p[f"{part}.{name}.weight"] @ condition + p[f"{part}.{name}.bias"]).reshape(heads, num_bands)
            for part in ("gates", "angles")
        }
        for k, amplitude in enumerate(series(x, min(len(x), length))):
            bands = band_weights(k / 128, num_bands)
            gain = np.repeat(2 * sigmoid(said["gates"]) @ bands, width // heads)
            angle = np.repeat(said["angles"] @ bands, width // heads) if k else np.zeros(width)
            for j in range(length):
                out[j] += gain * amplitude * np.cos(np.pi * k * (j + 0.5) / length - angle)
    return out
