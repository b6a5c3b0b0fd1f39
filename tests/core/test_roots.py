import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from optoscope import optimizers, tasks, training
from optoscope._core.roots import safe_root, with_safe_roots
from optoscope._core.trees import global_norm
from optoscope.analysis.symmetry import deviations
from optoscope.meta._clip import clip_backward
from optoscope.optimizers._sums_of_squares import sums_of_squares
from support.registered import as_registered, with_few_units

SQUARES = jnp.array([0.0, 1e-37, 0.25, 9.0, jnp.inf])


def test_the_root_is_the_root():
    np.testing.assert_array_equal(safe_root(SQUARES), jnp.sqrt(SQUARES))
    assert np.isnan(safe_root(jnp.array([-1.0, jnp.nan]))).all()


def test_the_derivative_is_that_of_the_root_and_zero_at_zero():
    np.testing.assert_allclose(
        jax.vmap(jax.grad(safe_root))(SQUARES[2:4]), 0.5 / np.sqrt(SQUARES[2:4]), rtol=1e-6
    )
    assert float(jax.grad(safe_root)(jnp.zeros(()))) == 0.0


def test_roots_of_others_are_replaced_in_calls_loops_and_branches():
    def function(x):
        norm = jnp.linalg.norm(x)
        looped = jax.lax.fori_loop(0, 3, lambda _, carry: jnp.sqrt(carry), norm)
        return jax.lax.cond(norm >= 0, jnp.sqrt, lambda y: y, looped) + jax.nn.relu(norm)

    x = jnp.array([0.3, 0.4])
    safe = with_safe_roots(function)
    np.testing.assert_array_equal(jax.jit(safe)(x), jax.jit(function)(x))
    np.testing.assert_allclose(jax.grad(safe)(x), jax.grad(function)(x), rtol=1e-6)
    assert np.isnan(jax.grad(function)(jnp.zeros(2))).all()
    np.testing.assert_array_equal(jax.grad(safe)(jnp.zeros(2)), 0.0)
    np.testing.assert_array_equal(jax.hessian(safe)(jnp.zeros(2)), 0.0)


def of_updates(measure):
    """A probe's value as a function of the updates, the rest of its record being as large."""

    def value(updates):
        step = jnp.zeros((), jnp.int32)
        record = training.StepRecord(step, None, updates, updates, updates, (), jnp.zeros(()))
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(measure(record)))

    return value


DIFFERENTIABLE = {
    "global norm": lambda x: global_norm({"a": x, "b": x[:2]}),
    "backward clip": lambda x: global_norm(clip_backward(x, 1.0)),
    "cosine": lambda x: deviations(x, jnp.ones(3), tasks.translation(lambda p: p)).cosine,
    "norms of a symmetry": lambda x: jnp.sum(tasks.rescale(lambda p: p, lambda p: p).norms(x)),
    "norms of an action": lambda x: jnp.sum(
        tasks.from_action(lambda p, a: p * jnp.exp(a), 1).norms(x)
    ),
    "sums of squares": lambda x: jnp.sum(sums_of_squares([[(x, ((), (x,)))]], (x,))),
} | {
    name: of_updates(entry().measure)
    for name, entry in ((name, training.PROBES[name]) for name in training.PROBES.names())
    if name in ("norms", "layer_update_sizes")
}


@pytest.mark.parametrize("function", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE.keys())
def test_what_can_be_differentiated_has_a_derivative_at_zero(function):
    np.testing.assert_array_equal(jax.grad(function)(jnp.zeros(3)), 0.0)


HALF_DEAD = {"matrix": jnp.array([[1.0, 0.0], [-0.5, 0.0]]), "dead": jnp.zeros(3)}


class HalfDead(tasks.Task):
    """Coordinates whose gradient is never zero, is always zero, and is zero only at the start."""

    def init(self, key):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(float)), HALF_DEAD)

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        alive, late = params["matrix"][:, 0], params["matrix"][:, 1]
        return jnp.sum((alive - 2) ** 2) + alive[0] * jnp.sum(late**2 + 0.1 * late * (alive - 1))


def meta_loss(optimizer):
    task = HalfDead()
    inner = training.initial_state(task, optimizer, jax.random.key(0))

    def step(inner, _):
        inner, record = training.inner_step(task, optimizer, inner, jax.random.key(0))
        return inner, record.loss

    # A loop, as everywhere in the library: steps that are written out take as often to compile.
    inner, losses = jax.lax.scan(step, inner, length=4)
    return jnp.sum(losses) + task.loss(inner.params, None)


# Compiling the steps of these takes minutes.
_LONG = {"celo", "celo2", "star"}
_NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in _LONG else name
    for name in optimizers.names()
]


@pytest.mark.parametrize("name", _NAMES)
def test_meta_gradients_with_zero_gradients_are_the_central_differences(name):
    with jax.enable_x64(True):
        made = with_few_units(as_registered(name))
        arrays, rest = eqx.partition(made, eqx.is_inexact_array)
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), arrays))

        if optimizers.REGISTRY[name].learned:
            # Biases of zero put a unit without inputs on the kink of its ReLU.
            flat += 0.01 * jax.random.normal(jax.random.key(2), flat.shape)

        @jax.jit
        @jax.value_and_grad
        def value_and_gradient(flat):
            return meta_loss(eqx.combine(unravel(flat), rest))

        gradient = value_and_gradient(flat)[1]
        assert np.isfinite(gradient).all()
        # Some of Optax's are computed in float32, whatever the parameters' type.
        state = made.init(HalfDead().init(jax.random.key(0)))
        coarse = any(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state))
        step, tolerance, floor = (0.1, 0.05, 1e-4) if coarse else (1e-5, 1e-4, 1e-8)
        for seed in range(2):
            # Relative to each number: Adam's ε must not become negative.
            direction = flat * jax.random.normal(jax.random.key(seed), flat.shape)
            if coarse:
                rate_alone = eqx.tree_at(
                    lambda o: o.hyperparameters["learning_rate"],
                    jax.tree.map(jnp.zeros_like, arrays),
                    made.hyperparameters["learning_rate"],
                )
                direction = ravel_pytree(rate_alone)[0]
            ends = (flat + sign * step * direction for sign in (1, -1))
            there, back = (value_and_gradient(end)[0] for end in ends)
            np.testing.assert_allclose(
                gradient @ direction,
                (there - back) / (2 * step),
                rtol=tolerance,
                atol=floor,
            )
