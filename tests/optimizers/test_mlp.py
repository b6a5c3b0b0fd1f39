import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import size
from optoscope.optimizers import MLPOptimizer
from support import literal_star

SHAPES = [(), (6,), (4, 7), (6, 6), (3, 3, 4, 5)]


def moved(optimizer):
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(0.1 * generator.standard_normal(leaf.shape), leaf.dtype),
        optimizer,
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance", "shapes", "hidden_size"),
    [
        ("float32", 1e-5, SHAPES, 4),
        ("float64", 1e-10, SHAPES[2:3], 4),
        ("float64", 1e-10, SHAPES[1:4], 32),
    ],
)
def test_against_the_literal_implementation(dtype, tolerance, shapes, hidden_size):
    with jax.enable_x64(dtype == "float64"):
        optimizer = moved(MLPOptimizer.create(jax.random.key(4), hidden_size=hidden_size))
        optimizer = jax.tree.map(lambda leaf: leaf.astype(dtype), optimizer)
        generator = np.random.default_rng(1)
        params = [jnp.asarray(generator.standard_normal(shape), dtype) for shape in shapes]
        literal = [np.asarray(leaf, np.float64) for leaf in params]
        literal_states = [literal_star.empty_state(shape) for shape in shapes]
        state = optimizer.init(params)
        update = eqx.filter_jit(lambda o, g, s, p: o.update(g, s, p))
        for _ in range(4):
            grads = [jnp.asarray(generator.standard_normal(shape), dtype) for shape in shapes]
            updates, state = update(optimizer, grads, state, params)
            for index, (g, found) in enumerate(zip(grads, updates, strict=True)):
                expected = literal_star.step(
                    optimizer.network,
                    literal_states[index],
                    np.asarray(g),
                    literal[index],
                    lambda heads, g, m, root: -1e-3 * heads[0] * np.exp(1e-3 * heads[1]),
                )
                bound = tolerance * np.max(np.abs(expected))
                np.testing.assert_allclose(
                    found, expected, rtol=tolerance, atol=bound, err_msg=str(shapes[index])
                )
                literal[index] = literal[index] + expected
            params = jax.tree.map(jnp.add, params, updates)
        assert int(state.step) == 4


def test_there_are_197_meta_parameters():
    optimizer = MLPOptimizer.create(jax.random.key(0))
    assert size(optimizer) == 197
    assert size(optimizer.network.decays) == 7


def test_each_input_reaches_the_update_with_its_own_weight():
    """A network that passes on one input only: what comes out must be that input."""
    optimizer = MLPOptimizer.create(jax.random.key(0), step_scale=1.0, exponent_scale=0.0)
    generator = np.random.default_rng(0)
    params = jnp.asarray(generator.standard_normal((4, 6)), jnp.float32)
    grads = jnp.asarray(generator.standard_normal((4, 6)), jnp.float32)
    literal_state = literal_star.empty_state((4, 6))
    literal_state["t"] = 0
    decays = literal_star.numbers_of(optimizer.network.decays)
    literal_star.accumulate(literal_state, np.asarray(grads, np.float64), decays)
    inputs = literal_star.inputs(
        literal_state, np.asarray(grads, np.float64), np.asarray(params, np.float64)
    )

    @jax.jit
    def passed_on(selected):
        network = jax.tree.map(jnp.zeros_like, optimizer.network)
        # relu(x) − relu(−x) = x.
        both = jnp.zeros((39, 4)).at[:, 0].set(selected).at[:, 1].set(-selected)
        network = eqx.tree_at(
            lambda n: (n.input_weights, n.hidden_weights, n.output_weights),
            network,
            (both, jnp.eye(4), jnp.zeros((4, 2)).at[:2, 0].set(jnp.array([-1.0, 1.0]))),
        )
        probe = eqx.tree_at(lambda o: o.network, optimizer, network)
        return probe.update(grads, probe.init(params), params)[0]

    for index in range(39):
        np.testing.assert_allclose(
            passed_on(jnp.eye(39)[index]), inputs[index], rtol=1e-5, atol=1e-6, err_msg=str(index)
        )


def test_saved_and_loaded(tmp_path):
    optimizer = moved(MLPOptimizer.create(jax.random.key(0), step_scale=0.01, exponent_scale=0.1))
    optimizers.save(tmp_path, optimizer)
    assert eqx.tree_equal(optimizers.load(tmp_path), optimizer)


def test_options_that_cannot_be():
    with pytest.raises(InvalidValueError, match="step_scale is 0"):
        MLPOptimizer.create(jax.random.key(0), step_scale=0)
    with pytest.raises(InvalidValueError, match="exponent_scale is -1"):
        MLPOptimizer.create(jax.random.key(0), exponent_scale=-1)


def test_a_trained_network_can_descend():
    """With d = the normalized gradient it is signed descent in scale: a quadratic is solved."""
    optimizer = MLPOptimizer.create(jax.random.key(0), step_scale=0.02)
    network = jax.tree.map(jnp.zeros_like, optimizer.network)
    weights = jnp.zeros((39, 4)).at[2, 0].set(1.0).at[2, 1].set(-1.0)
    network = eqx.tree_at(
        lambda n: (n.input_weights, n.hidden_weights, n.output_weights),
        network,
        (weights, jnp.eye(4), jnp.zeros((4, 2)).at[:2, 0].set(jnp.array([1.0, -1.0]))),
    )
    optimizer = eqx.tree_at(lambda o: o.network, optimizer, network)

    @jax.jit
    def run(params):
        def body(_, carry):
            params, state = carry
            updates, state = optimizer.update(params, state, params)
            return params + updates, state

        return jax.lax.fori_loop(0, 300, body, (params, optimizer.init(params)))[0]

    begin = jnp.array([[2.0, -1.0], [0.5, 1.5]])
    assert float(jnp.sum(run(begin) ** 2)) < 0.02 * float(jnp.sum(begin**2))
