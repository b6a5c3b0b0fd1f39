import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.optimizers._cells import GRUCell, LSTMCell, VanillaCell
from optoscope.optimizers._lstm import LSTMLayer
from optoscope.tasks import RecurrentNetwork
from optoscope.tasks._recurrent import RECURRENT_CELLS

KEY = jax.random.key(0)
every_cell = pytest.mark.parametrize("cell", RECURRENT_CELLS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def naive_step(cell, x, hidden, memory, weights):
    """One sequence, one step, gate by gate; x is W·input + b, cut into gates."""
    units = len(hidden)

    def gate(index, state=hidden):
        part = slice(index * units, (index + 1) * units)
        return x[part] + state @ weights[:, part]

    if cell == "vanilla":
        return np.tanh(gate(0)), memory
    if cell == "gru":
        update, reset = sigmoid(gate(0)), sigmoid(gate(1))
        return update * hidden + (1 - update) * np.tanh(gate(2, reset * hidden)), memory
    memory = sigmoid(gate(1)) * memory + sigmoid(gate(0)) * np.tanh(gate(2))
    return sigmoid(gate(3)) * np.tanh(memory), memory


def naive_network(params, cell, tokens, units):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    logits = []
    for sequence in tokens.tolist():
        hidden, memory = np.zeros(units), np.zeros(units)
        logits.append([])
        for token in sequence:
            embedded = params["embedding"]["weights"][token]
            x = embedded @ params["inputs"]["weights"] + params["inputs"]["bias"]
            hidden, memory = naive_step(cell, x, hidden, memory, params["recurrent"]["weights"])
            logits[-1].append(hidden @ params["dense"]["weights"] + params["dense"]["bias"])
    return np.array(logits)


def random_params(network):
    """Norms, biases and all: at their initial values a mix-up would not show."""
    draw = np.random.default_rng(0).normal
    shapes = jax.eval_shape(network.init, KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(draw(0, 0.5, leaf.shape), jnp.float32), shapes)


@every_cell
def test_against_a_naive_loop(cell):
    network = RecurrentNetwork(7, cell, units=4, embedding_size=3)
    params = random_params(network)
    tokens = jax.random.randint(KEY, (3, 6), 0, 7)
    expected = naive_network(params, cell, tokens, 4)
    assert expected.shape == (3, 6, 7)
    np.testing.assert_allclose(jax.jit(network)(params, tokens), expected, rtol=1e-4, atol=1e-5)


@every_cell
def test_a_step_is_that_of_the_learned_optimizers_cell(cell):
    """Another implementation, with the weights the other way round and the inputs inside."""
    network = RecurrentNetwork(5, cell, units=3, embedding_size=2)
    params = random_params(network)
    kind = RECURRENT_CELLS[cell]
    weights = params["inputs"]["weights"].T, params["recurrent"]["weights"].T
    bias = params["inputs"]["bias"]
    other = {
        "vanilla": lambda: VanillaCell(*weights, bias),
        "gru": lambda: GRUCell(*weights, bias),
        "lstm": lambda: LSTMCell(LSTMLayer(jnp.concatenate(weights, axis=1), bias)),
    }[cell]()
    inputs = jax.random.normal(KEY, (4, 2))
    state = jax.random.normal(jax.random.key(1), (4, kind.num_states * 3))
    projected = inputs @ params["inputs"]["weights"] + bias
    np.testing.assert_allclose(
        kind.step(projected, state, params["recurrent"]["weights"]),
        other(inputs, state),
        rtol=1e-5,
        atol=1e-6,
    )


@every_cell
def test_logits_depend_on_the_past_and_on_nothing_else(cell):
    network = RecurrentNetwork(9, cell, units=8, embedding_size=4)
    params = random_params(network)
    tokens = jax.random.randint(KEY, (1, 8), 0, 9)
    before = network(params, tokens)
    changed = np.asarray(network(params, tokens.at[0, 4].add(1) % 9) != before).any(axis=2)[0]
    assert changed.tolist() == [False] * 4 + [True] * 4


@every_cell
def test_sizes_and_the_start(cell):
    network = RecurrentNetwork(65, cell)
    params = jax.jit(lambda key: network.init(key))(KEY)
    gates = RECURRENT_CELLS[cell].num_gates
    count = 65 * 64 + (64 + 1 + 256) * gates * 256 + 256 * 65 + 65
    assert size(params) == count
    bias = np.asarray(params["inputs"]["bias"])
    # Forget gates start open.
    assert bias.sum() == (256 if cell == "lstm" else 0)
    if cell == "lstm":
        assert (bias[256:512] == 1).all()


def test_wrong_settings():
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm'"):
        RecurrentNetwork(5, "ltsm")
    with pytest.raises(InvalidValueError, match=r"units 0.*each must be at least 1"):
        RecurrentNetwork(5, units=0)
