"""The 39-input optimizers as the specification says, one line at a time, in NumPy and float64.

Written from the specification alone and shares nothing with the library: the whole 39 × size
array is built, and every coordinate is taken through the network.
"""

import numpy as np

START = (0.9, 0.99, 0.999)
TIMES = (1, 3, 10, 30, 100, 300, 1000, 3000, 1e4, 3e4, 1e5)


def largest_axes(shape):
    """(d1, d0), the second largest and the largest axis by a stable sort."""
    axes = sorted(range(len(shape)), key=lambda axis: shape[axis])
    return axes[-2], axes[-1]


def inverse_root(x):
    return np.maximum(x, 1e-9) ** -0.5


def empty_state(shape):
    shape = shape or (1,)
    state = {"m": [np.zeros(shape) for _ in range(3)], "v": np.zeros(shape), "t": 0}
    if len(shape) < 2:
        state["D"] = [np.zeros(shape) for _ in range(3)]
    else:
        d1, d0 = largest_axes(shape)
        state["R"] = [np.zeros(np.delete(shape, d0)) for _ in range(3)]
        state["C"] = [np.zeros(np.delete(shape, d1)) for _ in range(3)]
    return state


def accumulate(state, g, decays):
    """Updates `state` in place; `decays` has the seven φ by name."""
    for k in range(3):
        beta = 1 - (1 - START[k]) * np.exp(10 * decays["momentum"][k])
        state["m"][k] = beta * state["m"][k] + (1 - beta) * g
    beta = np.clip(1 - (1 - 0.999) * np.exp(10 * decays["second_moment"]), 0, 1)
    state["v"] = beta * state["v"] + (1 - beta) * g**2
    q = g**2 + 1e-30
    for k in range(3):
        beta = np.clip(1 - (1 - START[k]) * np.exp(10 * decays["factored"][k]), 0, 1)
        if g.ndim < 2:
            state["D"][k] = beta * state["D"][k] + (1 - beta) * q
            continue
        d1, d0 = largest_axes(g.shape)
        state["R"][k] = beta * state["R"][k] + (1 - beta) * q.mean(axis=d0)
        state["C"][k] = beta * state["C"][k] + (1 - beta) * q.mean(axis=d1)


def inputs(state, g, p):
    """The array of shape (39, *shape), normalized."""
    m, v = state["m"], state["v"]
    root = (v + 1e-6) ** -0.5
    if g.ndim < 2:
        averages = state["D"]
        factored = [g * inverse_root(d + 1e-9) for d in averages]
        first = second = averages
        scaled = [m[k] * (averages[k] + 1e-6) ** -0.5 for k in range(3)]
    else:
        d1, d0 = largest_axes(g.shape)
        first = [np.broadcast_to(np.expand_dims(x, d0), g.shape) for x in state["R"]]
        second = [np.broadcast_to(np.expand_dims(x, d1), g.shape) for x in state["C"]]
        # R has lost the axis d0: where d1 lies behind it, it has moved down by one.
        moved = d1 - 1 if d1 > d0 else d1
        r = [inverse_root(x / (x.mean(axis=moved, keepdims=True) + 1e-9)) for x in state["R"]]
        c = [inverse_root(x) for x in state["C"]]
        both = [np.expand_dims(r[k], d0) * np.expand_dims(c[k], d1) for k in range(3)]
        factored = [g * x for x in both]
        scaled = [m[k] * both[k] for k in range(3)]
    rows = [g, p, *m, v, *(x * root for x in m), root, *factored, *first, *second]
    rows += [(x + 1e-8) ** -0.5 for x in first] + [(x + 1e-8) ** -0.5 for x in second] + scaled
    assert len(rows) == 28
    rows = [x * (1e-5 + np.mean(x**2)) ** -0.5 for x in rows]
    rows += [np.full(g.shape, np.tanh(state["t"] / tau - 1)) for tau in TIMES]
    return np.stack(rows)


def numbers_of(module):
    """The arrays among a module's fields, in float64."""
    return {
        name: np.asarray(value, np.float64)
        for name, value in vars(module).items()
        if hasattr(value, "shape")
    }


def outputs(network, x):
    """The heads, for the inputs of every coordinate."""
    weights = numbers_of(network)
    result = np.zeros((weights["output_bias"].size, *x.shape[1:]))
    for at in np.ndindex(x.shape[1:]):
        hidden = np.maximum(weights["input_weights"].T @ x[:, *at] + weights["input_bias"], 0)
        hidden = np.maximum(weights["hidden_weights"].T @ hidden + weights["hidden_bias"], 0)
        result[:, *at] = weights["output_weights"].T @ hidden + weights["output_bias"]
    return result


def step(network, state, g, p, rule):
    """What is added to p; `rule(outputs, g, m, root)` gives p⁺ − p."""
    shape = np.shape(g)
    g = np.asarray(g, np.float64).reshape(shape or (1,))
    p = np.asarray(p, np.float64).reshape(shape or (1,))
    decays = numbers_of(network.decays)
    accumulate(state, g, decays)
    heads = outputs(network, inputs(state, g, p))
    update = rule(heads, g, state["m"], (state["v"] + 1e-6) ** -0.5)
    state["t"] += 1
    return update.reshape(shape)
