import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from support.registered import as_registered

GRADS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
START = jnp.array([1.0, -2.0, 0.5])


def run(optimizer, start=START, gradients=GRADS):
    """The parameters after each of a few given gradients."""

    @eqx.filter_jit
    def scan(optimizer):
        def step(carry, grads):
            params, state = carry
            updates, state = optimizer.update(grads, state, params)
            params = params + updates
            return (params, state), params

        return jax.lax.scan(step, (start, optimizer.init(start)), jnp.asarray(gradients))[1]

    return np.asarray(scan(optimizer))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optimizers.sgd(0.3), optax.sgd(0.3)),
        (optimizers.momentum(0.3, 0.8), optax.sgd(0.3, momentum=0.8)),
        (optimizers.rmsprop(0.1, 0.8, 1e-3), optax.rmsprop(0.1, decay=0.8, eps=1e-3)),
        (optimizers.adam(0.1, 0.8, 0.95, 1e-3), optax.adam(0.1, 0.8, 0.95, 1e-3)),
        (optimizers.adam(0.1), optax.adam(0.1)),
        (
            optimizers.nadamw(0.1, 0.8, 0.95, 1e-3, 0.2),
            optax.nadamw(0.1, 0.8, 0.95, 1e-3, weight_decay=0.2),
        ),
        (optimizers.lion(0.1, 0.8, 0.95, 0.2), optax.lion(0.1, 0.8, 0.95, weight_decay=0.2)),
        (optimizers.lion(0.1), optax.lion(0.1, weight_decay=0.0)),
        (optimizers.nadamw(0.1), optax.nadamw(0.1, weight_decay=0.0)),
        (optimizers.nesterov(0.1, 0.8), optax.sgd(0.1, momentum=0.8, nesterov=True)),
        (optimizers.adamw(0.1, weight_decay=0.2), optax.adamw(0.1, weight_decay=0.2)),
        (optimizers.lamb(0.1), optax.lamb(0.1)),
        (optimizers.adafactor(0.1), optax.adafactor(0.1)),
        (optimizers.adan(0.1), optax.adan(0.1)),
        (optimizers.ademamix(0.1, b3=0.99), optax.contrib.ademamix(0.1, b3=0.99)),
        (optimizers.adopt(0.1), optax.contrib.adopt(0.1)),
        (optimizers.muon(0.1), optax.contrib.muon(0.1)),
        (optimizers.prodigy(0.9), optax.contrib.prodigy(0.9)),
        (optimizers.schedule_free_adamw(0.1), optax.contrib.schedule_free_adamw(0.1)),
    ],
    ids=lambda optimizer: getattr(optimizer, "name", ""),
)
def test_equal_to_optax(ours, theirs):
    np.testing.assert_allclose(run(ours), run(theirs), rtol=1e-5, atol=1e-6)


def test_sophia_is_optaxs():
    """It needs the loss as well, and a step on which it estimates the curvature."""

    def loss(params):
        return jnp.sum(jnp.array([1.0, 10.0, 0.1]) * params**2)

    ours, theirs = (
        optimizers.sophia(0.1, weight_decay=0.2),
        optax.contrib.sophia(0.1, weight_decay=0.2),
    )
    states = [ours.init(START), theirs.init(START)]
    for _ in range(2):
        found = [
            one.update(jax.grad(loss)(START), state, START, obj_fn=loss)
            for one, state in zip((ours, theirs), states, strict=True)
        ]
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
        states = [state for _, state in found]


def test_every_optax_optimizer_is_compared():
    names = {"sgd", "momentum", "rmsprop", "adam", "nadamw", "lion", "nesterov", "adamw", "lamb"}
    names |= {"adafactor", "adan", "ademamix", "adopt", "muon", "prodigy", "schedule_free_adamw"}
    names |= {"sophia"}
    made = {name: as_registered(name) for name in optimizers.names()}
    assert names == {
        name for name, made_ in made.items() if isinstance(made_, optimizers.OptaxOptimizer)
    }
    assert all(made[name].name == name for name in names)


def test_lion_does_not_decay_weights_unless_asked():
    assert float(optimizers.lion().hyperparameters["weight_decay"]) == 0.0
    updates, _ = optimizers.lion(0.1).update(jnp.zeros(3), optimizers.lion(0.1).init(START), START)
    assert updates.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("betas", [(0.5,), (0.0, 0.9, 0.99), [0.3, 0.7]])
def test_aggmo_against_a_naive_loop(betas):
    params, velocities, expected = np.asarray(START, np.float64), [0.0] * len(betas), []
    for grads in GRADS.astype(np.float64):
        velocities = [beta * v + grads for beta, v in zip(betas, velocities, strict=True)]
        params = params - 0.2 * sum(velocities) / len(betas)
        expected.append(params)
    np.testing.assert_allclose(run(optimizers.aggmo(0.2, betas)), expected, rtol=1e-5, atol=1e-6)


def test_aggmo_with_one_mode_is_momentum():
    np.testing.assert_allclose(
        run(optimizers.aggmo(0.2, (0.9,))), run(optimizers.momentum(0.2, 0.9)), rtol=1e-5
    )


def test_aggmo_needs_a_mode():
    with pytest.raises(InvalidValueError, match="betas is empty"):
        optimizers.aggmo(0.1, ())


@pytest.mark.parametrize(("weight", "index"), [(1, 0), (0, 1), (1.0, 0), (0.0, 1)])
def test_interpolation_ends_are_the_two_optimizers(weight, index):
    pair = (optimizers.lion(0.1), optax.adam(0.3))
    np.testing.assert_allclose(
        run(optimizers.interpolate(*pair, weight)), run(pair[index]), rtol=1e-5, atol=1e-6
    )


def test_interpolation_weighs_updates_of_two_states_that_both_advance():
    first, second = optimizers.momentum(0.1, 0.9), optax.adam(0.3)
    mixed = run(optimizers.interpolate(first, second, 0.25))
    # Both see the same gradients whatever the parameters: the positions mix as the updates do.
    expected = 0.25 * run(first) + 0.75 * run(second)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)


def test_interpolation_hands_on_extra_arguments():
    def update(updates, state, params=None, *, value, **extra):
        return jax.tree.map(lambda g: value * g, updates), state

    needs_value = optax.GradientTransformationExtraArgs(lambda params: (), update)
    mixed = optimizers.interpolate(needs_value, optax.sgd(1.0), 0.5)
    updates, _ = mixed.update(jnp.ones(1), mixed.init(jnp.ones(1)), value=jnp.asarray(3.0))
    assert updates.tolist() == [1.0]


@pytest.mark.parametrize(
    ("optimizer", "closed_form"),
    [
        (optimizers.sgd(0.5), -1.0),
        (optimizers.momentum(0.5), -1.0),
        (optimizers.adam(0.5), -0.5),
        (optimizers.lion(0.5), -0.5),
        (optimizers.aggmo(0.5), -1.0),
        (optimizers.rmsprop(0.5), -0.5 / np.sqrt(0.1)),
    ],
)
def test_first_update_for_a_gradient_of_two(optimizer, closed_form):
    updates, _ = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.zeros(1)), jnp.zeros(1))
    np.testing.assert_allclose(updates, [closed_form], rtol=1e-5)


def test_the_learning_rate_can_be_searched_by_vmap_and_differentiated():
    def size(rate):
        optimizer = optimizers.sgd(rate)
        updates, _ = optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())))
        return updates

    rates = jnp.array([0.1, 0.2, 3.0])
    np.testing.assert_allclose(jax.vmap(size)(rates), -rates)
    assert float(jax.grad(size)(0.7)) == -1.0


def test_muon_on_a_matrix_is_optax_muon():
    start = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)
    gradients = np.random.default_rng(2).normal(size=(5, 4, 3)).astype(np.float32)
    ours = run(optimizers.muon(0.1), start, gradients)
    np.testing.assert_allclose(
        ours, run(optax.contrib.muon(0.1), start, gradients), rtol=1e-5, atol=1e-6
    )
    # It is not what a vector of the same numbers gets.
    flat = run(optimizers.muon(0.1), start.ravel(), gradients.reshape(5, 12))
    assert not np.allclose(ours.reshape(5, 12), flat, rtol=1e-2)


def test_prodigy_waits_for_the_first_gradient():
    waiting = np.concatenate([np.zeros((3, 3), np.float32), GRADS])
    found = run(optimizers.prodigy(), gradients=waiting)
    np.testing.assert_array_equal(found[:3], np.stack([START] * 3))
    np.testing.assert_allclose(found[3:], run(optimizers.prodigy()), rtol=1e-6)
