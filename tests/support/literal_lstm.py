"""The recurrent optimizers of Chen et al. (2020) as the specification says, in NumPy and float64.

One coordinate after the other, and nothing is shared with the library.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(weights, bias, x, h, c):
    """One LSTM: gates in the order i, j, f, o, and 1 added to the forget gate."""
    i, j, f, o = np.split(np.concatenate([x, h]) @ weights + bias, 4)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
    return sigmoid(o) * np.tanh(c), c


def start():
    """Of one coordinate."""
    return {"h": [np.zeros(20), np.zeros(20)], "c": [np.zeros(20), np.zeros(20)],
            "m": 0.0, "v": 0.0, "t": 0}  # fmt: skip


def readout(arrays, state, x):
    for layer in range(2):
        names = f"lstm_{layer + 1}/w_gates", f"lstm_{layer + 1}/b_gates"
        x, state["c"][layer] = cell(
            *(arrays[name] for name in names), x, state["h"][layer], state["c"][layer]
        )
        state["h"][layer] = x
    return float(x @ arrays["linear/w"][:, 0] + arrays["linear/b"][0])


def dm_step(arrays, state, g):
    x = np.array([max(np.log(abs(g) + 1.19e-7) / 5, -1), np.clip(np.exp(5) * g, -1, 1)])
    return 0.01 * readout(arrays, state, x)


def rnnprop_step(arrays, state, g):
    state["t"] += 1
    state["m"] = 0.95 * state["m"] + 0.05 * g
    state["v"] = 0.95 * state["v"] + 0.05 * g**2
    correction = 1 - 0.95 ** state["t"]
    scale = np.sqrt(state["v"] / correction) + 1e-8
    x = np.array([state["m"] / correction / scale, g / scale])
    x = x @ arrays["input_projection/w"] + arrays["input_projection/b"]
    x = np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)
    return 0.01 * np.tanh(readout(arrays, state, x))
