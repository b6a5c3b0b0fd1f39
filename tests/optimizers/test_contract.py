"""Every registered optimizer keeps the contract; a new one is tested on the day it is listed."""

import collections
import functools
import io
import re
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import digest
from optoscope.optimizers import as_optax
from support.registered import registered, with_few_units

every_optimizer = pytest.mark.parametrize("name", optimizers.names())
HAND_DESIGNED = [name for name in optimizers.names() if not optimizers.REGISTRY[name].learned]
MADE = {name: functools.partial(registered, name) for name in optimizers.names()} | {
    f"pretrained {name}": lambda name=name: with_few_units(optimizers.load(name))
    for name in optimizers.pretrained_names()
}
# They never look at the parameters.
BY_GRADIENTS_ALONE = ("aggmo", "lstm", "rnn", "rnnprop")

# XLA compiles each leaf's update by itself: these few are of every rank and type between them.
TREES = {
    "one leaf": jnp.ones((2, 3)),
    "nested": {
        "a": (jnp.ones((2, 3)), {"b": jnp.asarray(-1.0, jnp.float32)}),
        "c": [jnp.zeros((2, 3), jnp.bfloat16), jnp.array([1.0, -2.0, 3.0])],
        "empty": {"none": jnp.zeros((0, 3)), "some": jnp.ones((1, 1, 2), jnp.float16)},
    },
}


def like(tree, seed=0):
    """Normal numbers; drawn by NumPy, which compiles no program for each shape."""
    normal = np.random.default_rng(seed).standard_normal
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(normal(leaf.shape), leaf.dtype)), tree)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, jnp.result_type(leaf)), tree)


def all_finite(tree):
    return all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in jax.tree.leaves(tree))


TRACED = collections.Counter()


@eqx.filter_jit
def start_everywhere(optimizer):
    """The states for all trees, by one program."""
    return {name: optimizer.init(params) for name, params in TREES.items()}


@functools.cache
def begun(name):
    """An optimizer and its states at the beginning, which many tests share."""
    optimizer = registered(name)
    return optimizer, start_everywhere(optimizer)


@eqx.filter_jit
def step(optimizer, grads, states, params):
    """The updates and states of all trees, by one program: most of one's cost is the same."""
    TRACED["step"] += 1
    both = {
        name: optimizer.update(grads[name], states[name], some) for name, some in params.items()
    }
    return tuple({name: pair[place] for name, pair in both.items()} for place in (0, 1))


@every_optimizer
def test_structure_types_and_shapes_are_kept_over_steps(name):
    optimizer, states = begun(name)
    for seed in range(2):
        updates, new_states = step(optimizer, like(TREES, seed), states, TREES)
        assert shapes(updates) == shapes(TREES)
        assert shapes(new_states) == shapes(states)
        assert jax.tree.structure(new_states) == jax.tree.structure(states)
        assert all_finite(updates)
        states = new_states


@every_optimizer
def test_without_jit_the_same(name):
    (optimizer, states), params = begun(name), TREES["one leaf"]
    grads = like(TREES)
    compiled, _ = step(optimizer, grads, states, TREES)
    plain, _ = optimizer.update(grads["one leaf"], optimizer.init(params), params)
    compiled = compiled["one leaf"]
    for one, other in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


@every_optimizer
def test_arrays_of_numpy_and_numbers_are_arrays_of_jax_without_jit(name):
    optimizer = registered(name)
    trees = [
        {"a": np.linspace(low, 1.0, 6, dtype=np.float32).reshape(2, 3), "b": -low}
        for low in (-2.0, -3.0)
    ]

    def steps(grads, params):
        packed = optimizer.update(grads, optimizers.packed_state(optimizer, params), params)
        _, state = optimizer.update(grads, optimizer.init(params), params)
        return packed, optimizer.update(grads, state, params)

    expected, found = steps(*jax.tree.map(jnp.array, trees)), steps(*trees)
    # Their owner may write to them afterwards.
    for tree in trees:
        tree["a"][:] = 0
    assert shapes(found) == shapes(expected)
    assert digest(found) == digest(expected)


@every_optimizer
def test_many_seeds_side_by_side(name):
    params, grads = like((jnp.ones((3, 4)), jnp.ones((3, 4))))

    @eqx.filter_jit
    def both(optimizer, params, grads):
        def one(params, grads):
            _, state = optimizer.update(grads, optimizer.init(params), params)
            return optimizer.update(2 * grads, state, params)

        together = jax.vmap(one)(params, grads)
        one_by_one = jax.lax.map(lambda each: one(*each), (params, grads))
        return together, one_by_one

    together, one_by_one = both(registered(name), params, grads)
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(one_by_one), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@every_optimizer
def test_no_second_compile_when_values_change(name):
    first, states = begun(name)
    arrays, rest = eqx.partition(first, eqx.is_inexact_array)
    assert jax.tree.leaves(arrays), "an optimizer's numbers must be array leaves"
    second = eqx.combine(jax.tree.map(lambda leaf: 0.5 * leaf, arrays), rest)
    step(first, like(TREES), states, TREES)
    traced = TRACED["step"]
    results = []
    for optimizer, seed in ((first, 0), (second, 0), (first, 1)):
        updates, next_states = step(optimizer, like(TREES, seed), states, like(TREES, seed + 5))
        step(optimizer, like(TREES, seed + 9), next_states, TREES)
        # The state too: some learned optimizers do nothing before they are trained.
        results.append(digest((updates["nested"], next_states["nested"])))
    assert TRACED["step"] == traced
    assert len(set(results)) >= 2


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_another_learning_rate_is_the_same_program(name):
    structures = {
        jax.tree.structure(registered(name, learning_rate=rate)) for rate in (1, 0.5, 1e-3)
    }
    assert len(structures) == 1


@every_optimizer
def test_inside_optax_chain(name):
    (optimizer, states), params = begun(name), TREES["one leaf"]
    grads = like(TREES)

    @jax.jit
    def chained(grads, params):
        """As it is and wrapped by one program: XLA compiles what they have in common once."""
        updates = {}
        for label, wrapped in {"bare": optimizer, "as_optax": as_optax(optimizer)}.items():
            chain = optax.chain(wrapped, optax.scale(-2.0))
            state = chain.init(params)
            updates[label], _ = chain.update(grads, state, params, value=jnp.ones(()))
        return updates

    alone = step(optimizer, grads, states, TREES)[0]["one leaf"]
    for label, found in chained(grads["one leaf"], params).items():
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one, -2 * other, rtol=1e-4, atol=1e-7, err_msg=label)


@every_optimizer
def test_the_state_survives_being_written_as_arrays(name):
    optimizer, states = begun(name)
    _, state = step(optimizer, like(TREES), states, TREES)
    leaves, structure = jax.tree.flatten(state)
    buffer = io.BytesIO()
    # NumPy's format has no bfloat16: bytes and types are kept apart.
    np.savez(buffer, *[np.asarray(leaf).reshape(-1).view(np.uint8) for leaf in leaves])
    buffer.seek(0)
    stored = np.load(buffer, allow_pickle=False)
    restored = jax.tree.unflatten(
        structure,
        [
            jnp.asarray(stored[f"arr_{index}"].view(leaf.dtype).reshape(leaf.shape))
            for index, leaf in enumerate(leaves)
        ],
    )
    assert digest(restored) == digest(state)
    again = step(optimizer, like(TREES, 1), restored, TREES)
    assert digest(again) == digest(step(optimizer, like(TREES, 1), state, TREES))


@every_optimizer
def test_zero_and_huge_gradients_give_finite_updates(name):
    optimizer, states = begun(name)
    # The largest number of a float16 is 65504.
    for scale, half in ((0, 0), (1e30, 1e4), (-1e30, -300), (1e-30, 1e-5), (0, 0)):
        grads = jax.tree.map(
            lambda leaf, s=scale, h=half: jnp.asarray(
                np.full(leaf.shape, h if leaf.dtype == jnp.float16 else s, leaf.dtype)
            ),
            TREES,
        )
        updates, states = step(optimizer, grads, states, TREES)
        assert all_finite(updates), scale


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_of_half_precision_parameters_only_the_update_is_rounded(name):
    gradients = jnp.array([0.0, 1e-5, 300.0, 1e4])

    @eqx.filter_jit
    def second_updates(optimizer):
        def one(gradient, dtype):
            # Rounded to either type, they are the same numbers in all three.
            grads = gradient.astype(jnp.float16).astype(jnp.bfloat16).astype(dtype)
            params, grads = jnp.full((2, 3), 0.5, dtype), jnp.full((2, 3), grads)
            # ADOPT's first update is zero.
            _, state = optimizer.update(grads, optimizer.init(params), params)
            return optimizer.update(grads, state, params)[0]

        return {
            dtype: jax.vmap(lambda gradient, dtype=dtype: one(gradient, dtype))(gradients)
            for dtype in ("float32", "float16", "bfloat16")
        }

    found = second_updates(registered(name))
    for dtype in ("float16", "bfloat16"):
        assert found[dtype].dtype == dtype
        np.testing.assert_allclose(
            found[dtype].astype(jnp.float32),
            found["float32"],
            rtol=float(jnp.finfo(dtype).eps),
            atol=float(jnp.finfo(dtype).smallest_subnormal),
            err_msg=dtype,
        )


class Model(eqx.Module):
    """A model with a function in it, and a parameter that is not trained before one that is."""

    activation: Callable | None
    frozen: jax.Array | None
    matrix: jax.Array
    vector: jax.Array


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_gradients_meet_their_own_parameters_where_others_are_not_trained(make):
    matrix = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    model = Model(jax.nn.relu, 5 + matrix, matrix, jnp.linspace(-2.0, 1.0, 3))
    trained = Model(None, None, model.matrix, model.vector)

    @eqx.filter_jit
    def updates(optimizer, model, trained):
        """By one program: XLA compiles what the two have in common once."""
        grads, state = jax.tree.map(jnp.sin, trained), optimizer.init(trained)
        return [
            optimizer.update(grads, state, params, obj_fn=lambda at: jnp.sum(at.matrix**2))[0]
            for params in (model, trained)
        ]

    found, expected = updates(make(), model, trained)
    assert shapes(found) == shapes(trained)
    assert digest(found) == digest(expected)


@every_optimizer
def test_nothing_as_large_as_a_long_side_squared_is_made(name):
    length = 1_000_003  # of a vocabulary, say
    params = {"embedding": jax.ShapeDtypeStruct((length, 2), jnp.float32)}
    optimizer = registered(name)

    def update(params):
        step = optimizer.update(params, optimizer.init(params), params, obj_fn=lambda at: 0.0)
        return step[0]

    program = str(jax.make_jaxpr(update)(params))
    squared = re.search(rf"\[[^]]*{length}[^]]*{length}[^]]*\]", program)
    assert squared is None, squared[0]


@pytest.mark.parametrize(
    "name", [name for name in optimizers.names() if name not in BY_GRADIENTS_ALONE]
)
@pytest.mark.parametrize(
    "other", [{"x": jnp.ones(3), "y": jnp.ones(3)}, {"a": None, "b": jnp.ones(3)}, jnp.ones(3)]
)
def test_parameters_of_another_tree_are_refused(name, other):
    optimizer, params = registered(name), {"a": jnp.ones(3), "b": jnp.ones(3)}

    def update(params, other):
        return optimizer.update(params, optimizer.init(params), other)

    with pytest.raises(
        InvalidValueError, match=r"not one tree.*write update\(grads, state, params"
    ):
        jax.eval_shape(update, params, other)


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_a_hand_designed_optimizer_solves_a_quadratic(name):
    optimizer = registered(name, learning_rate=0.01)
    curvature = jnp.array([1.0, 0.3, 2.0])

    def loss(params):
        return 0.5 * jnp.sum(curvature * (params - 1) ** 2)

    @eqx.filter_jit
    def run(optimizer, params):
        def body(_, carry):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return params + updates, state

        return jax.lax.fori_loop(0, 1500, body, (params, optimizer.init(params)))[0]

    begin = jnp.array([2.0, -1.0, 0.0])
    assert float(loss(run(optimizer, begin))) < 1e-3 * float(loss(begin))


@every_optimizer
def test_the_leaves_are_inexact_arrays_and_an_update_is_differentiable_in_them(name):
    optimizer = registered(name)
    assert all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(optimizer))

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(optimizer):
        # Of a few numbers XLA makes one piece of straight code, which takes three times as long.
        params = jnp.linspace(-2.0, 1.0, 40)
        # ADOPT's first update is zero.
        _, state = optimizer.update(params, optimizer.init(params), params)
        updates, _ = optimizer.update(params, state, params)
        return jnp.sum(updates * jnp.linspace(1.0, 3.0, 40))

    leaves = jax.tree.leaves(gradient(optimizer))
    assert all_finite(leaves)
    assert any(np.any(leaf != 0) for leaf in leaves)


@every_optimizer
def test_every_entry_says_what_it_is_and_its_search_space_fits(name):
    entry = optimizers.REGISTRY[name]
    assert entry.description
    for argument, (low, high) in entry.search.items():
        assert 0 < low < high
        registered(name, **{argument: low})
