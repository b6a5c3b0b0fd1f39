"""The recurrent optimizer against a literal float64 implementation and finite differences."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.optimizers import RNNOptimizer
from optoscope.optimizers._rnn import RNNState

GRADS = np.array([1e3, -0.7, 2e-4, -1e-7, 0.0])
STEPS = [GRADS, -GRADS[::-1], 0.3 * GRADS]
CELLS = ["gru", "vanilla", "lstm"]
SCALINGS = [
    {"input_scaling": "raw"},
    {"input_scaling": "scaled", "input_scale": 0.02},
    {"input_scaling": "log"},
    {"input_scaling": "normalized", "input_scale": 30.0, "decay": 0.8},
]


def trained(key=0, **configuration) -> RNNOptimizer:
    """An optimizer none of whose weights is zero, in float64 if that is enabled."""
    optimizer = RNNOptimizer.create(jax.random.key(0), **({"hidden_size": 3} | configuration))
    leaves, structure = jax.tree.flatten(optimizer)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    moved = [leaf + jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, moved)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def affine(weights, features, bias):
    return [
        sum(w * x for w, x in zip(row, features, strict=True)) + b
        for row, b in zip(weights, bias, strict=True)
    ]


def literal_cell(optimizer, inputs, state):
    """The next state of one coordinate, one unit at a time, in float64."""
    name, units, cell = optimizer.cell_name, optimizer.cell.hidden_size, optimizer.cell
    hidden = list(state[:units])
    if name == "lstm":
        weights, bias = np.asarray(cell.layer.weights, float), np.asarray(cell.layer.bias, float)
        gates = affine(weights, inputs + hidden, bias)
        new, memory = [], []
        for k in range(units):
            i, f, g, o = (gates[kind * units + k] for kind in range(4))
            memory.append(sigmoid(f) * state[units + k] + sigmoid(i) * np.tanh(g))
            new.append(sigmoid(o) * np.tanh(memory[-1]))
        return new + memory
    W, U, b = (
        np.asarray(part, float) for part in (cell.input_weights, cell.recurrent_weights, cell.bias)
    )
    if name == "vanilla":
        return [np.tanh(z) for z in affine(np.hstack([W, U]), inputs + hidden, b)]
    W_u, W_r, W_n = np.split(W, 3)
    U_u, U_r, U_n = np.split(U, 3)
    b_u, b_r, b_n = np.split(b, 3)
    new = []
    for k in range(units):
        reset = [
            sigmoid(W_r[j] @ inputs + U_r[j] @ np.array(hidden) + b_r[j]) for j in range(units)
        ]
        update = sigmoid(W_u[k] @ inputs + U_u[k] @ np.array(hidden) + b_u[k])
        candidate = np.tanh(
            W_n[k] @ inputs + sum(U_n[k, j] * reset[j] * hidden[j] for j in range(units)) + b_n[k]
        )
        new.append(update * hidden[k] + (1 - update) * candidate)
    return new


def literal_step(optimizer, gradient, state, averages):
    """(update, next state) of one coordinate; its averages (m, v) are replaced."""
    if optimizer.input_scaling == "log":
        inputs = [np.log1p(abs(gradient)), np.sign(gradient)]
    elif optimizer.input_scaling == "normalized":
        for index, value in enumerate((gradient, gradient**2)):
            averages[index] = optimizer.decay * averages[index] + (1 - optimizer.decay) * value
        root = np.sqrt(averages[1])
        scaled = [averages[0] / (root + 1e-8), gradient / (root + 1e-8)]
        inputs = [*scaled, np.log(1 + optimizer.input_scale * root)]
    else:
        inputs = [optimizer.input_scale * gradient]
    state = literal_cell(optimizer, inputs, state)
    readout = np.asarray(optimizer.readout, float)
    output = sum(w * h for w, h in zip(readout, state[: len(readout)], strict=True))
    return optimizer.output_scale * (output + float(optimizer.readout_bias)), state


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s["input_scaling"])
def test_against_a_literal_implementation(cell, scaling, float64):
    optimizer = trained(cell=cell, output_scale=0.7, **scaling)
    states = [list(np.asarray(optimizer.initial_state, float)) for _ in GRADS]
    averages = [[0.0, 0.0] for _ in GRADS]
    state = optimizer.init(jnp.zeros(len(GRADS)))
    np.testing.assert_array_equal(state.coordinates, states)
    update = eqx.filter_jit(lambda o, g, s: o.update(g, s))
    for grads in STEPS:
        coordinates = zip(grads, states, averages, strict=True)
        results = [literal_step(optimizer, *coordinate) for coordinate in coordinates]
        states = [state for _, state in results]
        updates, state = update(optimizer, jnp.asarray(grads), state)
        np.testing.assert_allclose(updates, [u for u, _ in results], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(state.coordinates, states, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_an_untrained_optimizer_does_exactly_nothing(cell):
    optimizer = RNNOptimizer.create(jax.random.key(0), cell=cell)
    state = optimizer.init(jnp.zeros(len(GRADS)))
    update = jax.jit(optimizer.update)
    for grads in STEPS:
        updates, state = update(jnp.asarray(grads, jnp.float32), state)
        assert updates.tolist() == [0.0] * len(GRADS)
    assert np.any(np.asarray(state.coordinates) != 0)


def test_a_gru_by_hand_keeps_its_state_when_the_update_gate_is_open():
    optimizer = RNNOptimizer.create(jax.random.key(0), hidden_size=2)
    bias = jnp.array([50.0, -50.0, 0.0, 0.0, 0.0, 0.0])
    optimizer = eqx.tree_at(lambda o: o.cell.bias, optimizer, bias)
    zero = jax.tree.map(jnp.zeros_like, optimizer.cell.recurrent_weights)
    optimizer = eqx.tree_at(lambda o: o.cell.recurrent_weights, optimizer, zero)
    before = RNNState(jnp.array([[0.3, 0.9]]))
    _, state = jax.jit(optimizer.update)(jnp.zeros(1), before)
    # Unit 0 keeps what it has; unit 1 takes its candidate, tanh(0).
    np.testing.assert_allclose(state.coordinates, [[0.3, 0.0]], atol=1e-6)


def test_permuting_coordinates_permutes_updates_and_states():
    optimizer = trained()
    order = np.random.default_rng(0).permutation(len(GRADS))

    @jax.jit
    def run(grads):
        updates, state = optimizer.update(grads, optimizer.init(grads))
        updates, state = optimizer.update(updates + grads, state)
        return updates, state.coordinates

    grads = jnp.asarray(GRADS, jnp.float32)
    for one, other in zip(run(grads), run(grads[order]), strict=True):
        np.testing.assert_allclose(other, one[order], rtol=1e-5, atol=1e-7)


def test_the_shape_of_the_parameters_does_not_matter():
    optimizer = trained()
    flat = jnp.asarray(GRADS, jnp.float32)
    tree = {"a": flat[:2], "b": (flat[2:3].reshape(()), flat[3:].reshape(2, 1))}
    first = jax.jit(lambda grads: optimizer.update(grads, optimizer.init(grads))[0])
    expected, updates = first(flat), first(tree)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(updates)[0], expected, rtol=1e-5)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, tree)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("scaling", ["raw", "normalized"])
def test_gradients_in_weights_and_inputs_match_finite_differences(cell, scaling, float64):
    """The initial state among the weights; and through the input, as second order needs it."""
    optimizer, generator = trained(cell=cell, input_scaling=scaling), np.random.default_rng(0)
    steps = np.stack(STEPS) / 100
    if scaling == "normalized":
        # Near zero a difference of two points does not see what happens between them.
        steps = generator.uniform(0.5, 2, steps.shape) * generator.choice([-1, 1], steps.shape)
    flat, unravel = jax.flatten_util.ravel_pytree((optimizer, jnp.asarray(steps)))

    @jax.jit
    def loss(vector):
        optimizer, steps = unravel(vector)
        state, total = optimizer.init(steps[0]), 0.0
        for grads in steps:
            updates, state = optimizer.update(grads, state)
            total += jnp.sum(updates**2) + jnp.sum(updates)
        return total

    exact = jax.jit(jax.grad(loss))(flat)
    slopes, _ = unravel(exact)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(slopes))
    for _ in range(3):
        direction = generator.normal(size=flat.shape)
        step = 1e-5
        difference = (loss(flat + step * direction) - loss(flat - step * direction)) / step / 2
        np.testing.assert_allclose(exact @ direction, difference, rtol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_have_the_variance_of_their_fan_in(cell):
    optimizer = RNNOptimizer.create(
        jax.random.key(0), cell=cell, hidden_size=64, input_scaling="log"
    )
    matrices = [leaf for leaf in jax.tree.leaves(optimizer.cell) if leaf.ndim == 2]
    drawn = np.concatenate([np.asarray(leaf, float) for leaf in matrices], axis=1)
    assert drawn.shape[1] == 2 + 64
    error = np.sqrt(2 / drawn.size)
    assert abs(np.mean(drawn**2) * 66 - 1) < 4 * error
    assert abs(np.mean(drawn[:, :2] ** 2) * 66 - 1) < 4 * np.sqrt(2 / drawn[:, :2].size)
    # Power: a variance that is 10% off is seen.
    assert abs(np.mean(drawn**2) * 66 * 1.1 - 1) > 4 * error
    zeros = (optimizer.initial_state, optimizer.readout, optimizer.readout_bias)
    biases = [leaf for leaf in jax.tree.leaves(optimizer.cell) if leaf.ndim == 1]
    for leaf in (*zeros, *biases):
        assert not np.any(leaf)


@pytest.mark.parametrize(
    ("cell", "count"),
    # Gates of H(1 + H) + H, then the initial state and the readout with its bias.
    [("gru", 3 * 32 * 34 + 32 + 33), ("vanilla", 32 * 34 + 65), ("lstm", 4 * 32 * 34 + 64 + 33)],
)
def test_the_number_of_weights(cell, count):
    assert size(RNNOptimizer.create(jax.random.key(0), cell=cell)) == count


@pytest.mark.parametrize("cell", CELLS)
def test_saved_and_loaded_it_is_the_same(tmp_path, cell):
    optimizer = trained(cell=cell, output_scale=0.5, input_scaling="scaled", input_scale=2)
    loaded = optimizers.load(optimizers.save(tmp_path / cell, optimizer))
    assert jax.tree.structure(loaded) == jax.tree.structure(optimizer)
    for one, other in zip(jax.tree.leaves(loaded), jax.tree.leaves(optimizer), strict=True):
        np.testing.assert_array_equal(one, other)


def test_keys_draw_different_weights():
    first, second = (RNNOptimizer.create(jax.random.key(seed)).cell for seed in (0, 1))
    for one, other in itertools.product(jax.tree.leaves(first)[:2], jax.tree.leaves(second)[:2]):
        # A few of ten thousand float32 numbers meet by chance.
        assert np.isin(np.asarray(one), np.asarray(other)).mean() < 0.01


@pytest.mark.parametrize(
    ("configuration", "error", "message"),
    [
        ({"cell": "grus"}, UnknownNameError, "Did you mean 'gru'"),
        ({"input_scaling": "logs"}, UnknownNameError, "Did you mean 'log'"),
        ({"hidden_size": 0}, InvalidValueError, "hidden_size is 0; it must be at least 1"),
        ({"output_scale": 0.0}, InvalidValueError, "output_scale is 0.0; it must be above 0"),
        ({"input_scale": 0.1}, InvalidValueError, "'raw' does not use it"),
        (
            {"input_scaling": "scaled", "input_scale": float("nan")},
            InvalidValueError,
            "input_scale is nan",
        ),
        ({"decay": 0.9}, InvalidValueError, "'raw' does not use it"),
        ({"input_scaling": "normalized", "decay": 1}, InvalidValueError, "decay is 1"),
    ],
)
def test_wrong_configurations(configuration, error, message):
    with pytest.raises(error, match=message):
        RNNOptimizer.create(jax.random.key(0), **configuration)
