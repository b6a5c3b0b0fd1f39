import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import size
from optoscope.optimizers import LSTMOptimizer
from optoscope.optimizers._lstm import log_and_sign

# Large, ordinary, small, just around the border e^-10 = 4.54e-5, tiny and zero.
GRADS = np.array([1e3, -0.7, 2e-4, -4.6e-5, 4.5e-5, -1e-7, 0.0])
STEPS = [GRADS, -GRADS[::-1], 0.3 * GRADS]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def literal_inputs(gradient, exponent, offset):
    if abs(gradient) >= np.exp(-exponent):
        return [np.log(abs(gradient) + offset) / exponent, np.sign(gradient)]
    return [-1.0, np.exp(exponent) * gradient]


def literal_step(optimizer, gradient, hiddens, cells):
    """One coordinate, one gate, one unit at a time, in float64."""
    features = literal_inputs(gradient, optimizer.exponent, optimizer.log_offset)
    for index, layer in enumerate(optimizer.layers):
        weights, bias = np.asarray(layer.weights, float), np.asarray(layer.bias, float)
        units = len(hiddens[index])
        column = list(features) + list(hiddens[index])
        gates = [
            sum(w * x for w, x in zip(row, column, strict=True)) + b
            for row, b in zip(weights, bias, strict=True)
        ]
        hidden, cell = [], []
        for unit in range(units):
            i, f, g, o = (gates[kind * units + unit] for kind in range(4))
            cell.append(sigmoid(f) * cells[index][unit] + sigmoid(i) * np.tanh(g))
            hidden.append(sigmoid(o) * np.tanh(cell[-1]))
        hiddens[index], cells[index] = hidden, cell
        features = hidden
    readout = np.asarray(optimizer.readout, float)
    return optimizer.update_scale * (
        sum(w * h for w, h in zip(readout, features, strict=True)) + float(optimizer.readout_bias)
    )


CONFIGURATIONS = [
    {"hidden_size": 4},
    {"hidden_size": 3, "num_layers": 1, "update_scale": 2.0},
    {"hidden_size": 2, "num_layers": 3, "exponent": 5.0, "log_offset": 1e-8},
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_against_a_literal_implementation(configuration):
    optimizer = LSTMOptimizer.create(jax.random.key(1), **configuration)
    # Larger weights than the initial ones, so that no gate stays near its linear range.
    optimizer = jax.tree.map(lambda leaf: 2 * leaf, optimizer)
    shape = (len(optimizer.layers), configuration["hidden_size"])
    hiddens = [[[0.0] * shape[1] for _ in range(shape[0])] for _ in GRADS]
    cells = [[[0.0] * shape[1] for _ in range(shape[0])] for _ in GRADS]
    state = optimizer.init(jnp.zeros(len(GRADS)))
    update = eqx.filter_jit(lambda o, g, s: o.update(g, s))
    for grads in STEPS:
        expected = [
            literal_step(optimizer, gradient, hidden, cell)
            for gradient, hidden, cell in zip(grads, hiddens, cells, strict=True)
        ]
        updates, state = update(optimizer, jnp.asarray(grads, jnp.float32), state)
        np.testing.assert_allclose(updates, expected, rtol=1e-5, atol=1e-6)
    for layer in range(shape[0]):
        literal = np.array([hidden[layer] for hidden in hiddens]).T
        np.testing.assert_allclose(state.hidden[layer], literal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exponent", [10.0, 5.0])
def test_preprocessing_by_hand(exponent):
    border = np.float32(jnp.exp(-exponent))
    grads = jnp.array([np.e**2, -1.0, border, -border, np.nextafter(border, 0), 0.0, -border / 4])
    expected = [
        [2 / exponent, 0.0, -1.0, -1.0, -1.0, -1.0, -1.0],
        [1.0, -1.0, 1.0, -1.0, 1.0, 0.0, -0.25],
    ]
    np.testing.assert_allclose(
        log_and_sign(grads.astype(jnp.float32), exponent), expected, rtol=1e-5, atol=1e-6
    )


def test_the_border_itself_takes_the_logarithm():
    border = jnp.exp(-10.0)[None]
    offset = 1e-5  # visible only where a logarithm is taken
    expected = np.log(float(border[0]) + offset) / 10
    np.testing.assert_allclose(log_and_sign(border, 10.0, offset)[0], [expected], rtol=1e-5)
    below = jnp.nextafter(border, jnp.zeros(1))
    np.testing.assert_array_equal(log_and_sign(below, 10.0, offset)[0], [-1.0])


def test_the_released_offset_is_inside_the_logarithm():
    grads = jnp.array([1e-4, 1.0])
    expected = [np.log(1e-4 + 1e-8) / 10, np.log(1 + 1e-8) / 10]
    np.testing.assert_allclose(log_and_sign(grads, 10.0, 1e-8)[0], expected, rtol=1e-6, atol=1e-8)


def test_the_preprocessing_has_finite_derivatives_everywhere():
    slope = jax.grad(lambda g: log_and_sign(g, 10.0).sum())
    assert np.isfinite(slope(jnp.asarray(GRADS, jnp.float32))).all()


def test_permuting_coordinates_permutes_updates_and_states():
    optimizer = LSTMOptimizer.create(jax.random.key(0), hidden_size=5)
    order = np.random.default_rng(0).permutation(len(GRADS))

    @eqx.filter_jit
    def run(optimizer, steps):
        state = optimizer.init(steps[0])
        for grads in steps:
            updates, state = optimizer.update(grads, state)
        return updates, state

    steps = jnp.asarray(np.stack(STEPS), jnp.float32)
    updates, state = run(optimizer, steps)
    permuted, permuted_state = run(optimizer, steps[:, order])
    np.testing.assert_allclose(permuted, updates[order], rtol=1e-5, atol=1e-7)
    for one, other in zip(jax.tree.leaves(permuted_state), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(one, other[:, order], rtol=1e-5, atol=1e-7)


def test_the_shape_of_the_parameters_does_not_matter():
    optimizer = LSTMOptimizer.create(jax.random.key(0), hidden_size=3)
    flat = jnp.asarray(GRADS[:6], jnp.float32)
    tree = {"a": flat[:2], "b": (flat[2:3].reshape(()), flat[3:].reshape(3, 1))}
    first = jax.jit(lambda grads: optimizer.update(grads, optimizer.init(grads))[0])
    expected, updates = first(flat), first(tree)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(updates)[0], expected, rtol=1e-5)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, tree)


def test_the_gradient_in_the_weights_matches_finite_differences():
    with jax.enable_x64(True):
        optimizer = LSTMOptimizer.create(jax.random.key(2), hidden_size=3)
        optimizer = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), optimizer)
        flat, unravel = jax.flatten_util.ravel_pytree(optimizer)
        grads = jnp.asarray(np.stack(STEPS))

        @jax.jit
        def loss(vector):
            optimizer = unravel(vector)
            state, total = optimizer.init(grads[0]), 0.0
            for step in grads:
                updates, state = optimizer.update(step, state)
                total += jnp.sum(updates**2) + jnp.sum(updates)
            return total

        exact = jax.jit(jax.grad(loss))(flat)
        generator = np.random.default_rng(0)
        for _ in range(4):
            direction = generator.normal(size=flat.shape)
            step = 1e-5
            difference = (loss(flat + step * direction) - loss(flat - step * direction)) / step / 2
            np.testing.assert_allclose(exact @ direction, difference, rtol=1e-7)


def test_initial_weights_are_uniform_and_independent():
    optimizer = LSTMOptimizer.create(jax.random.key(0), hidden_size=16)
    for leaf in jax.tree.leaves(optimizer):
        assert np.abs(leaf).max() <= 0.25
    weights = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(optimizer)])
    standard_error = 0.25**2 * np.sqrt((1 / 5 - 1 / 9) / weights.size)
    assert abs(np.mean(weights**2) - 0.25**2 / 3) < 4 * standard_error
    for one, other in itertools.combinations(jax.tree.leaves(optimizer), 2):
        assert not np.isin(np.asarray(one), np.asarray(other)).all()


def test_the_number_of_weights():
    # 4H(2 + H) + 4H and 4H(2H) + 4H, then H + 1, with H = 20.
    assert size(LSTMOptimizer.create(jax.random.key(0))) == 1840 + 3280 + 21


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0; it must be at least 1"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1 and at most 64"),
        ({"update_scale": 0.0}, "update_scale is 0.0; it must be above 0"),
        ({"exponent": -1.0}, "exponent is -1.0; it must be above 0"),
        ({"log_offset": -1e-8}, "log_offset is -1e-08; it must be at least 0"),
        ({"update_scale": float("nan")}, "update_scale is nan"),
    ],
)
def test_wrong_configurations(configuration, message):
    with pytest.raises(InvalidValueError, match=message):
        LSTMOptimizer.create(jax.random.key(0), **configuration)
