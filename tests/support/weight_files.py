"""Weight files in the shapes that others publish, filled with random numbers."""

import msgpack
import numpy as np

GROUP_SIZES = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)


def drawn(shapes, seed=0):
    generator = np.random.default_rng(seed)
    return {
        name: np.asarray(0.3 * generator.standard_normal(shape), np.float32)
        for name, shape in shapes.items()
    }


def lstm_shapes(inputs):
    return {
        "lstm_1/w_gates": (inputs + 20, 80),
        "lstm_1/b_gates": (80,),
        "lstm_2/w_gates": (40, 80),
        "lstm_2/b_gates": (80,),
        "linear/w": (20, 1),
        "linear/b": (1,),
    }


def celo_shapes(hidden, lead=()):
    return {f"w0__{i}": (*lead, n, hidden) for i, n in enumerate(GROUP_SIZES)} | {
        "b0": (*lead, hidden),
        "w1": (*lead, hidden, hidden),
        "b1": (*lead, hidden),
        "w2": (*lead, hidden, 3),
        "b2": (*lead, 3),
    }


def celo_file_shapes():
    shapes = {f"ff_mod_stack/~/{name}": s for name, s in celo_shapes(4, (1,)).items()}
    for layer in ("linear", "linear_1", "linear_2"):
        shapes |= {f"rnn_params/{layer}/w": (18, 64), f"rnn_params/{layer}/b": (64,)}
    shapes |= {"rnn_params/rnn/linear/w": (128, 256), "rnn_params/rnn/linear/b": (256,)}
    for layer in ("rnn_to_controls", "step_size"):
        shapes |= {f"rnn_params/{layer}/w": (64, 1), f"rnn_params/{layer}/b": (1,)}
    return shapes | {f"lstm_init_state/{part}": (1, 64) for part in ("hidden", "cell")}


RNNPROP = {"input_projection/w": (2, 20), "input_projection/b": (20,)} | lstm_shapes(20)
ADAFAC = {
    "network.input.weight": (32, 39),
    "network.input.bias": (32,),
    "network.linear_0.weight": (32, 32),
    "network.linear_0.bias": (32,),
    "network.output.weight": (2, 32),
    "network.output.bias": (2,),
}
SHAPES = {
    "celo2": celo_shapes(8),
    "celo": celo_file_shapes(),
    "l2o-dm": lstm_shapes(2),
    "rnnprop": RNNPROP,
    "adafac": ADAFAC,
}


def written(path, arrays):
    """The path itself, with the arrays in it as NumPy's archive, whatever the path ends in."""
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def as_flax(arrays):
    """The content of a file of `flax.serialization`, names split at their slashes."""
    tree = {}
    for name, array in arrays.items():
        data = msgpack.packb([list(array.shape), array.dtype.name, array.tobytes()])
        *parents, last = name.split("/")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = msgpack.ExtType(1, data)
    return msgpack.packb(tree)
