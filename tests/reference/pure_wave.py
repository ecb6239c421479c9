"""Pure wave attention, pair by pair, in float64."""

import numpy as np

KERNELS = {
    "elu_plus_one": lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exp": np.exp,
}


def positions(mask, batch, steps):
    """Real tokens before each one, in its row."""
    if mask is None:
        return np.tile(np.arange(steps), (batch, 1))
    return np.array([[max(sum(row[: t + 1]) - 1, 0) for t in range(steps)] for row in np.asarray(mask, dtype=int)])


def waves(x, p, side, at):
    """u = W^(1/4) s / |s| with s = sin(omega(x) t + phi(x)), for x (B, T, D) and positions (B, T): (B, N, T, W)."""
    shift = p[f"heads.{side}.frequency_shift"]
    heads, count = shift.shape
    pairs = -(-count // 2)
    ladder, quarter = np.zeros((heads, count)), np.zeros(count)
    for n in range(heads):
        for w in range(count):
            omega = 0.001 ** (((w // 2) * heads + n) / max(pairs * heads - 1, 1))
            ladder[n, w] = np.log(omega / (np.pi - omega))
            quarter[w] = np.pi / 2 if w % 2 else 0.0
    batch, steps, _ = x.shape
    moved = (x @ p[f"heads.{side}.frequency.weight"].T).reshape(batch, steps, heads, count)
    omega = np.pi / (1 + np.exp(-(ladder + shift + 0.01 * moved)))
    phi = (x @ p[f"heads.{side}.phase.weight"].T).reshape(moved.shape) + p[f"heads.{side}.phase_shift"] + quarter
    wave = np.sin(omega * at[:, :, None, None] + phi)
    wave = count**0.25 * wave / np.sqrt((wave**2).sum(-1, keepdims=True) + 1e-6)
    return wave.transpose(0, 2, 1, 3)


def weights(x, p, kernel, mask=None, linear=False):
    """kernel(scale q . k), or kernel(scale q) . kernel(scale k), for all pairs, before masks and the division."""
    at, phi = positions(mask, *x.shape[:2]), KERNELS[kernel]
    q, k = waves(x, p, "query", at), waves(x, p, "key", at)
    scale = np.exp(p["heads.log_scale"])[:, None, None]
    if linear:
        return phi(scale * q) @ phi(scale * k).transpose(0, 1, 3, 2)
    return phi(scale * q @ k.transpose(0, 1, 3, 2))


def mixer(x, p, kernel="elu_plus_one", causal=True, mask=None, linear=False):
    """Either mixer on x (B, T, D) with parameters p by name."""
    batch, steps, width = x.shape
    w = weights(x, p, kernel, mask, linear)
    heads = w.shape[1]
    v = (x @ p["heads.value.weight"].T).reshape(batch, steps, heads, -1).transpose(0, 2, 1, 3)
    out = np.zeros_like(v)
    for b in range(batch):
        for t in range(steps):
            seen = [s for s in range(steps) if (not causal or s <= t) and (mask is None or mask[b, s])]
            if seen:
                here = w[b, :, t, seen]  # (seen, N)
                out[b, :, t] = np.einsum("sn,nse->ne", here / here.sum(0), v[b][:, seen])
    return out.transpose(0, 2, 1, 3).reshape(batch, steps, width) @ p["out_proj.weight"].T
