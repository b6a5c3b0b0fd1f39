"""An optimizer's state lies where the parameters do, and a step moves none of it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optoscope import optimizers
from support.registered import registered

P = PartitionSpec
# Two of one shape that are split along different axes, as the matrices into and out of a layer.
SHAPES = {
    "into": ((64, 48), P("x", None)),
    "out": ((64, 48), P(None, "x")),
    "bias": ((48,), P("x")),
    "kernel": ((3, 3, 8, 16), P(None, None, None, "x")),
    "scale": ((), P()),
}
MOVES = re.compile(r"(all-gather|all-to-all|collective-permute|reduce-scatter)[\w-]*\(")
# Their rules need products or inner products over all of a matrix or of the parameters; where
# shardings are part of the types neither Optax nor "general" says where these lie.
NEED_MORE = ("muon", "prodigy", "general")
# One for each kind of state; compiling the others as often takes minutes.
QUICK = ("adam", "adafactor", "aggmo", "lstm", "rnn", "star")


def each_of(names):
    return pytest.mark.parametrize(
        "name",
        [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names],
    )


every_optimizer = each_of(optimizers.names())
every_mesh = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])


def placed(kind):
    """Parameters and gradients on a mesh of two devices, and the same on one."""
    mesh = jax.make_mesh((2,), ("x",), axis_types=(kind,), devices=jax.devices()[:2])
    trees = []
    for seed in range(2):
        keys = jax.random.split(jax.random.key(seed), len(SHAPES))
        trees.append(
            {
                name: jax.random.normal(key, shape)
                for key, (name, (shape, _)) in zip(keys, SHAPES.items(), strict=True)
            }
        )
    shardings = {name: NamedSharding(mesh, spec) for name, (_, spec) in SHAPES.items()}
    return mesh, [jax.device_put(tree, shardings) for tree in trees], trees


@functools.cache
def on_one_device(name):
    """An optimizer and its first updates, for both kinds of mesh."""
    optimizer = registered(name)
    _, _, (params, grads) = placed(AxisType.Auto)
    return optimizer, jax.jit(optimizer.update)(grads, optimizer.init(params), params)[0]


def is_split(leaf):
    return not leaf.sharding.is_fully_replicated


WHERE_TYPES_TELL = [name for name in optimizers.names() if name not in NEED_MORE]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=[] if name in QUICK else pytest.mark.slow)
        for kind, names in (
            (AxisType.Auto, [*WHERE_TYPES_TELL, "general"]),
            (AxisType.Explicit, WHERE_TYPES_TELL),
        )
        for name in names
    ],
)
def test_the_state_follows_the_parameters(kind, name):
    optimizer = registered(name)
    mesh, (params, _), _ = placed(kind)
    with jax.set_mesh(mesh):
        for state in (optimizer.init(params), jax.jit(optimizer.init)(params)):
            for path, leaf in jax.tree_util.tree_leaves_with_path(state):
                of_one = [key for key in SHAPES if f"'{key}'" in jax.tree_util.keystr(path)]
                if of_one and leaf.size >= params[of_one[0]].size > 1:
                    assert is_split(leaf), (path, leaf.sharding)


@each_of(WHERE_TYPES_TELL)
@every_mesh
def test_a_step_gathers_nothing(name, kind):
    optimizer, expected = on_one_device(name)
    mesh, (params, grads), _ = placed(kind)
    with jax.set_mesh(mesh):
        state = jax.jit(optimizer.init)(params)
        update = jax.jit(optimizer.update).lower(grads, state, params).compile()
        assert not MOVES.findall(update.as_text())
        updates, after = update(grads, state, params)
    for before, now in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert is_split(now) == is_split(before)
    assert all(is_split(updates[key]) == is_split(params[key]) for key in SHAPES)
    for key in SHAPES:
        np.testing.assert_allclose(updates[key], expected[key], rtol=1e-4, atol=1e-6)


def test_the_test_sees_a_gather():
    _, (params, _), _ = placed(AxisType.Auto)
    gathers = jax.jit(lambda params: jnp.concatenate([params["into"], params["out"]]).ravel()[::-1])
    assert MOVES.findall(gathers.lower(params).compile().as_text())


@every_optimizer
def test_packed_the_steps_are_the_same(name):
    optimizer = registered(name)
    _, _, (params, grads) = placed(AxisType.Auto)
    params |= {"more": jnp.linspace(0, 1, 7), "empty": jnp.zeros((0, 3))}
    grads |= {"more": jnp.linspace(1, -1, 7), "empty": jnp.zeros((0, 3))}

    def step(carry, size):
        total, state = carry
        scaled = jax.tree.map(lambda leaf: size * leaf, grads)
        updates, state = optimizer.update(scaled, state, params)
        return (jax.tree.map(jnp.add, total, updates), state), None

    @jax.jit
    def steps(state):
        begin = (jax.tree.map(jnp.zeros_like, params), state)
        return jax.lax.scan(step, begin, jnp.array([1.0, 0.1, -2.0]))[0]

    plain, _ = steps(optimizer.init(params))
    packed, state = steps(optimizer.init_packed(params))
    assert jax.tree.structure(state) == jax.tree.structure(optimizer.init_packed(params))
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(packed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
