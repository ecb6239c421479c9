"""Half waves, filters over grids and band-limited resampling, by definition, in float64."""

import numpy as np


def series(x, count):
    """Amplitudes a_k of the cosines through samples at (i + 1/2) / n: from the transform of the mirrored signal."""
    n = len(x)
    spectrum = np.fft.fft(np.concatenate([x, x[::-1]], axis=0), axis=0) / (2 * n)
    # The first sample stands half a step after 0.
    shift = np.exp(-1j * np.pi * np.arange(n) / (2 * n)).reshape(-1, *[1] * (x.ndim - 1))
    a = (spectrum[:n] * shift).real * 2
    a[0] /= 2
    return a[:count]


def value(amplitudes, u):
    """The series at one place."""
    return sum(a * np.cos(np.pi * k * u) for k, a in enumerate(amplitudes))


def resampled(x, length, real=None):
    """Rows (S, D) to (N, D): the series through the real positions, of as many waves as both carry, at new places."""
    x = x if real is None else x[real]
    if not len(x):
        return np.zeros((length, x.shape[1]))
    a = series(x, min(len(x), length))
    return np.array([value(a, (j + 0.5) / length) for j in range(length)])


def hat(response, down, across):
    """A table of responses (M, M) between its entries: bilinear, 0 outside."""
    total = 0.0
    for m in range(response.shape[0]):
        for n in range(response.shape[1]):
            total += response[m, n] * max(0, 1 - abs(down - m)) * max(0, 1 - abs(across - n))
    return total


def mirrored(image):
    """An image (R, C) beside its mirror images: (2 R, 2 C), which repeats."""
    wide = np.concatenate([image, image[:, ::-1]], axis=1)
    return np.concatenate([wide, wide[::-1]], axis=0)


def kernel(response, gains, rows, columns, modes):
    """What one bright cell becomes, at every offset (2 R, 2 C): the waves' responses, added up.

    cos(w (y - y')) passes with the gain a, and comes a quarter of a wave late with the gain b: a wave of amplitude 1
    turns into a cos + b sin, down and across. A kernel e(y - y') f(x - x') does that to mirrored images.
    """
    unit = np.sqrt(rows * columns)
    total = np.zeros((2 * rows, 2 * columns))
    for k in range(min(rows, int(np.ceil(modes * rows / unit - 1e-9)))):
        for m in range(min(columns, int(np.ceil(modes * columns / unit - 1e-9)))):
            down, across = k * unit / rows, m * unit / columns
            share = (1 if k == 0 else 2) * (1 if m == 0 else 2) / (4 * rows * columns)
            y = np.pi * k * np.arange(2 * rows)[:, None] / rows
            x = np.pi * m * np.arange(2 * columns) / columns
            waves = ((np.cos(y), np.sin(y)), (np.cos(x), np.sin(x)))
            for p in range(response.shape[0]):
                for q in range(response.shape[1]):
                    total += gains(down, across) * hat(response[p, q], down, across) * share * waves[0][p] * waves[1][q]
    return total


def convolved(image, weights):
    """The sum over all cells of the mirrored image of their value times the weight of the offset: (R, C)."""
    rows, columns = image.shape
    whole, out = mirrored(image), np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            for s in range(2 * rows):
                for t in range(2 * columns):
                    out[i, j] += weights[(i - s) % (2 * rows), (j - t) % (2 * columns)] * whole[s, t]
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def band_weights(radius, num_bands):
    """Bands two octaves apart, the highest at 1/4: cos^2 of the distance in octaves over 2."""
    place = -np.inf if radius == 0 else np.log2(radius / 0.25) / 2 + num_bands - 1
    place = min(max(place, 0), num_bands - 1)
    return np.array([np.cos(np.pi / 2 * min(1, abs(place - b))) ** 2 for b in range(num_bands)])


def local(cells, weight, bias):
    """Weighted sums of neighbours, zeros beyond the borders: (R, C, D)."""
    rows, columns, _ = cells.shape
    half = weight.shape[-1] // 2
    out = np.zeros_like(cells) + bias
    for i in range(rows):
        for j in range(columns):
            for s in range(-half, half + 1):
                for t in range(-half, half + 1):
                    if 0 <= i + s < rows and 0 <= j + t < columns:
                        out[i, j] += weight[:, 0, s + half, t + half] * cells[i + s, j + t]
    return out


def rms(x, weight):
    return weight * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def grid_filter(x, p, grid, heads, modes, num_bands):
    """The grid_filter mixer of one image (P, D)."""
    width = x.shape[1]
    smooth = local(x.reshape(*grid, width), p["short.weight"], p["short.bias"])
    q, k, v = np.split(smooth @ p["in_proj.weight"].T, 3, axis=-1)
    u = rms(k, p["k_norm.weight"]) * v
    level = (p["band_gate.weight"] @ x.mean(0)).reshape(heads, num_bands) - p["threshold"][:, None]
    gates = 2 * sigmoid(level)
    y = np.zeros_like(u)
    for d in range(width):

        def gains(down, across, head=d // (width // heads)):
            return gates[head] @ band_weights(np.hypot(down, across) / (2 * modes), num_bands)

        weights = kernel(p["response"][..., d], gains, *grid, modes)
        y[..., d] = convolved(u[..., d], weights) + p["direct"][d] * u[..., d]
    return ((rms(q, p["q_norm.weight"]) * y) @ p["out_proj.weight"].T).reshape(-1, width)
