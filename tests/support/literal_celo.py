"""Celo's and Celo2's perceptrons as the specification says, in NumPy and float64.

The whole 30 × size array is built; nothing is shared with the library.
"""

import numpy as np

from support import literal_star
from support.literal_star import inverse_root, largest_axes

# 1 − 0.001 exp(10 φ) = 0.95: how `literal_star` is told of another decay of v.
CELO2_DECAY = np.log(50) / 10


def inputs(state, g, p, second):
    """The normalized inputs; `second` says whether they are Celo2's."""
    m, v = state["m"], state["v"]
    root = (v + (1e-8 if second else 1e-6)) ** -0.5
    if g.ndim < 2:
        first = last = state["D"]
        factored = [g * inverse_root(d + 1e-9) for d in first]
        scaled = [m[k] * first[k] ** -0.5 for k in range(3)]
    else:
        d1, d0 = largest_axes(g.shape)
        first = [np.broadcast_to(np.expand_dims(x, d0), g.shape) for x in state["R"]]
        last = [np.broadcast_to(np.expand_dims(x, d1), g.shape) for x in state["C"]]
        moved = d1 - 1 if d1 > d0 else d1
        both = []
        for row, column in zip(state["R"], state["C"], strict=True):
            r = inverse_root(row / (row.mean(axis=moved, keepdims=True) + 1e-9))
            both.append(np.expand_dims(r, d0) * np.expand_dims(inverse_root(column), d1))
        factored = [g * x for x in both]
        scaled = [m[k] * both[k] for k in range(3)]
    rows = [g, np.clip(g, -0.1, 0.1), p, *m, v, *(x * root for x in m), root, *factored, g * root]
    more = [*first, *last]
    more += [(x + 1e-8) ** -0.5 for x in more] + scaled
    if second and g.ndim < 2:
        more = [np.zeros(g.shape)] * 15
    rows += more
    assert len(rows) == 30
    axes = tuple(range(g.ndim))[-2:] if second else None
    eps = 1e-9 if second else 1e-5
    return np.stack([x * (eps + np.mean(x**2, axis=axes, keepdims=True)) ** -0.5 for x in rows])


def outputs(arrays, x):
    weights = np.concatenate([arrays[f"w0__{group}"] for group in range(14)])
    x = np.moveaxis(x, 0, -1)
    x = np.maximum(x @ weights + arrays["b0"], 0)
    x = np.maximum(x @ arrays["w1"] + arrays["b1"], 0)
    return np.moveaxis(x @ arrays["w2"] + arrays["b2"], -1, 0)


def step(arrays, state, g, p, second):
    """Celo2's direction, or Celo's update for a schedule's factor of 1; what is subtracted."""
    g = np.clip(g, -1000, 1000) if second else g
    decays = {"momentum": np.zeros(3), "factored": np.zeros(3)}
    decays["second_moment"] = CELO2_DECAY if second else 0.0
    literal_star.accumulate(state, g, decays)
    d, a, _ = outputs(arrays, inputs(state, g, p, second))
    if second:
        axes = tuple(range(g.ndim))[-2:]
        return d * (np.mean(d**2, axis=axes, keepdims=True) + 1e-9) ** -0.5
    return 1e-3 * d * np.exp(1e-3 * a) * np.sqrt(np.mean(p**2) + 1e-9)
