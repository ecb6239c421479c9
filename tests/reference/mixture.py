"""Mixtures of experts by definition: one token at a time, every expert asked for by name."""

import numpy as np

from tests.reference.blocks import swiglu


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def chosen(chances, active):
    """Return the best experts, best first."""
    return sorted(range(len(chances)), key=lambda e: -chances[e])[:active]


def mixture(x, p, active):
    """Return the output for x (B, T, D), given the parameters by name."""
    out = np.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            chances = softmax(p["router.weight"] @ x[b, t])
            experts = chosen(chances, active)
            whole = 1.0 if active == 1 else sum(chances[e] for e in experts)
            for e in experts:
                own = {name: p[f"experts.{e}.{name}"] for name in ("w1.weight", "w2.weight", "w3.weight")}
                out[b, t] += chances[e] / whole * swiglu(x[b, t], own)
    return out


def balance(scores, active, real):
    """Return E sum_e f_e P_e over the real tokens of scores (N, E)."""
    rows = [softmax(s) for s, counts in zip(scores, real, strict=True) if counts]
    experts = scores.shape[1]
    uses = [e for chances in rows for e in chosen(chances, active)]
    return experts * sum(
        uses.count(e) / len(uses) * sum(chances[e] for chances in rows) / len(rows) for e in range(experts)
    )
