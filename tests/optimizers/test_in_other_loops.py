"""Every registered optimizer in a loop that is not ours: jitted, donated, composed, written down.

What an optimizer does there is compared with its own update, taken as it is.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import digest
from optoscope.optimizers import as_optax, scale_by_learned
from support.registered import NEED_THE_LOSS, quadratic, registered, with_few_units

# Two of one shape, which might share a buffer; XLA compiles each leaf's update by itself.
PARAMS = {
    "dense": {"kernel": jnp.linspace(-1.0, 1.0, 48).reshape(16, 3)},
    "more": ({"kernel": jnp.linspace(2.0, -1.0, 48).reshape(16, 3)}, jnp.asarray(0.5)),
}
HALF = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)

MADE = {name: lambda name=name: registered(name) for name in optimizers.names()}
MADE["adam-cosine"] = lambda: optimizers.get("adam-cosine", num_steps=10)
MADE["adaptive general"] = lambda: optimizers.get("general", num_steps=10, adaptive_sizes=True)
# An untrained LSTM or RNN may do nothing at all; a trained one is known to move.
MADE["pretrained star"] = lambda: with_few_units(optimizers.load("star-small-mnist-mlp"))
# One for each class of optimizer and of state; compiling the others as often takes minutes.
QUICK = ("adam", "schedule_free_adamw", "aggmo", "adam-cosine", "lstm", "rnn", "pretrained star")
QUICK = (*QUICK, "celo", "celo2", "rnnprop")
HALVES = ("adam", "schedule_free_adamw", "lstm")
WAYS = {"bare": lambda optimizer: optimizer, "as_optax": as_optax}


def each_of(names, quick=QUICK):
    return [
        pytest.param(MADE[name], id=name, marks=[] if name in quick else pytest.mark.slow)
        for name in names
    ]


every_optimizer = pytest.mark.parametrize("make", each_of(MADE))
# Wrappers look at the structure of a state and never at the rule.
wrapped_optimizers = pytest.mark.parametrize("make", each_of(MADE, quick=("adam", "lstm")))
# Both ways lead to the same functions.
QUICK_WAYS = ("adam", "lstm", "pretrained star")
every_way = pytest.mark.parametrize(
    ("make", "way"),
    [
        pytest.param(
            MADE[name],
            way,
            id=f"{name}-{label}",
            marks=[] if quick else pytest.mark.slow,
        )
        for name in MADE
        for label, way in WAYS.items()
        for quick in [name == "adam" or (label == "bare" and name in QUICK_WAYS)]
    ],
)


def gradients(params, seed=0):
    """Normal numbers; drawn by NumPy, which compiles no program for each shape."""
    normal = np.random.default_rng(seed).standard_normal
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(normal(leaf.shape), leaf.dtype)), params
    )


@functools.cache
def by_itself(make):
    """An optimizer with nothing around it, its beginning and its update compiled once for all."""
    optimizer = make()
    return optimizer, jax.jit(optimizer.init), jax.jit(optimizer.update)


def plain(make, params, steps=2):
    """Parameters and state after some steps, with nothing around the optimizer."""
    _, init, update = by_itself(make)
    state = init(params)
    for seed in range(steps):
        updates, state = update(gradients(params, seed), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def close(found, expected, scale=1e-6):
    """Equal to rounding; bfloat16 is rounded more often where steps are compiled one by one."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        half = one.dtype == jnp.bfloat16
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, rtol=2e-2 if half else 1e-4, atol=scale)


def buffers(tree):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize(
    ("make", "way", "params"),
    [
        pytest.param(MADE[name], WAYS[label], params, id=f"{kind}-{label}-{name}", marks=marks)
        for name in MADE
        for label in WAYS
        for kind, params in {"float32": PARAMS, "bfloat16": HALF}.items()
        for quick in [label == "bare" and (name in QUICK if params is PARAMS else name in HALVES)]
        for marks in [[] if quick else pytest.mark.slow]
    ],
)
def test_jitted_as_they_are_with_donated_buffers(make, way, params):
    alone, init_alone, _ = by_itself(make)
    optimizer = way(alone)
    init = init_alone if optimizer is alone else jax.jit(optimizer.init)

    # Gradients, state and parameters are given away: none may hold another's buffers.
    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(grads, state, params):
        updates, state = optimizer.update(grads, state, params)
        return updates, state, optax.apply_updates(params, updates)

    expected, expected_state = plain(make, params)
    found, state = jax.tree.map(jnp.copy, params), init(params)
    for seed in range(2):
        _, state, found = step(gradients(params, seed), state, found)
    close((found, state), (expected, expected_state), scale=1e-6 if params is PARAMS else 1e-2)
    # States that were just made of the parameters neither, compiled or not.
    step(gradients(params), optimizer.init(found), found)
    again = jax.tree.map(jnp.copy, params)
    step(gradients(params), init(again), again)
    make_again = digest(jax.tree.leaves(optimizer.init(params)))
    assert make_again == digest(jax.tree.leaves(init(params))), "its own numbers were donated"


@pytest.mark.parametrize("make", each_of(MADE, quick=MADE))
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eager", "jit"]
)
def test_the_state_is_plain_and_has_its_own_buffers(make, compiled):
    optimizer, init, update = by_itself(make)
    state = (init if compiled else optimizer.init)(PARAMS)
    _, after = update(gradients(PARAMS), state, PARAMS)
    for one in (state, after):
        pointers = buffers((one, PARAMS, optimizer))
        assert len(set(pointers)) == len(pointers)
        assert all(leaf.size for leaf in jax.tree.leaves(one))

        def check(node):
            assert isinstance(node, jax.Array | dict | tuple | list) or node is None, type(node)
            if not isinstance(node, jax.Array) and node is not None:
                for child in node.values() if isinstance(node, dict) else node:
                    check(child)

        check(one)


@wrapped_optimizers
def test_inside_optax(make):
    optimizer = make()
    expected, _ = plain(make, PARAMS)
    everywhere = jax.tree.map(lambda _: True, PARAMS)
    labels = jax.tree.map(lambda _: "all", PARAMS)
    direction = scale_by_learned(optimizer)
    wrapped = (
        optax.chain(optimizer, optax.identity()),
        optax.masked(optimizer, everywhere),
        optax.partition({"all": as_optax(optimizer), "none": optax.set_to_zero()}, labels),
        optax.apply_if_finite(optimizer, max_consecutive_errors=3),
        optax.chain(direction, optax.scale_by_learning_rate(1.0)),
        optax.inject_hyperparams(
            lambda rate: optax.chain(direction, optax.scale_by_learning_rate(rate))
        )(rate=1.0),
    )

    def step(carry, grads):
        states, params = carry
        for index, one in enumerate(wrapped):
            updates, states[index] = one.update(grads, states[index], params[index])
            params[index] = optax.apply_updates(params[index], updates)
        return (states, params), None

    # One program for all of them: compiling is what takes the time here.
    @jax.jit
    def run(params, *grads):
        begin = ([one.init(params) for one in wrapped], [params for _ in wrapped])
        return jax.lax.scan(step, begin, jax.tree.map(lambda *g: jnp.stack(g), *grads))[0][1]

    for one in run(PARAMS, gradients(PARAMS, 0), gradients(PARAMS, 1)):
        close(one, expected, scale=1e-5)


@every_optimizer
def test_partly_masked_parameters_stay_and_the_others_move_as_alone(make):
    optimizer = make()
    labels = {"dense": "learned", "more": "frozen"}
    wrapped = optax.partition({"learned": optimizer, "frozen": optax.set_to_zero()}, labels)

    def move(optimizer, grads, params):
        return optimizer.update(grads, optimizer.init(params), params)[0]

    # XLA compiles what the two have in common once.
    @jax.jit
    def both(grads, params):
        dense = {"dense": params["dense"]}
        return move(wrapped, grads, params), move(optimizer, {"dense": grads["dense"]}, dense)

    found, expected = both(gradients(PARAMS), PARAMS)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found["more"]))
    close(found["dense"], expected["dense"], scale=1e-5)


@every_optimizer
def test_accumulated_over_several_batches(make):
    optimizer, init, expected_update = by_itself(make)
    accumulating = optax.MultiSteps(optimizer, every_k_schedule=2)
    params, state, update = PARAMS, accumulating.init(PARAMS), jax.jit(accumulating.update)
    one, two = gradients(PARAMS, 0), gradients(PARAMS, 1)
    for grads in (one, two):
        updates, state = update(grads, state, params)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, one, two)
    expected, _ = expected_update(mean, init(PARAMS), PARAMS)
    close(updates, expected, scale=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in optimizers.names()
        if not optimizers.REGISTRY[name].learned and name not in NEED_THE_LOSS
    ],
)
def test_hyperparameters_are_injected_and_changed_without_a_second_program(name):
    wrapped = optax.inject_hyperparams(optimizers.REGISTRY[name].create)(learning_rate=0.1)
    update = jax.jit(wrapped.update)
    state = wrapped.init(PARAMS)
    first, _ = update(gradients(PARAMS), state, PARAMS)
    state.hyperparams["learning_rate"] = jnp.float32(0.2)
    second, _ = update(gradients(PARAMS), state, PARAMS)
    close(second, jax.tree.map(lambda leaf: 2 * leaf, first))
    assert update._cache_size() == 1


@every_way
def test_under_flax_nnx(make, way):
    nnx = pytest.importorskip("flax.nnx")
    optimizer = make()

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(16, 3, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)

        def __call__(self, inputs):
            return self.norm(self.first(inputs))

    model = Model(nnx.Rngs(0))
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    tx = nnx.Optimizer(model, way(optimizer), wrt=nnx.Param)
    inputs, targets = jax.random.normal(jax.random.key(1), (2, 8, 16))

    def loss(model):
        return jnp.mean((model(inputs) - targets[:, :3]) ** 2)

    @nnx.jit
    def step(model, tx):
        grads = nnx.grad(loss)(model)
        tx.update(model, grads)
        return grads

    grads = nnx.to_pure_dict(nnx.state(step(model, tx), nnx.Param))
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(before), before)
    after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    close(after, optax.apply_updates(before, updates), scale=1e-5)
    step(model, tx)
    assert jax.tree.structure(nnx.state(tx.opt_state))


@every_way
def test_under_a_flax_train_state(make, way):
    train_state = pytest.importorskip("flax.training.train_state")
    optimizer = make()
    state = train_state.TrainState.create(
        apply_fn=None, params=jax.tree.map(jnp.copy, PARAMS), tx=way(optimizer)
    )
    step = jax.jit(lambda state, grads: state.apply_gradients(grads=grads), donate_argnums=0)
    for seed in range(2):
        state = step(state, gradients(PARAMS, seed))
    close(state.params, plain(make, PARAMS)[0], scale=1e-5)


@every_optimizer
def test_the_state_is_written_and_read_by_the_fields_own_formats(make, tmp_path):
    from safetensors.numpy import load_file, save_file

    _, state = plain(make, PARAMS)
    empty = by_itself(make)[1](PARAMS)

    named = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    save_file(named, tmp_path / "state.safetensors")
    stored = load_file(tmp_path / "state.safetensors")
    restored = jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(stored[jax.tree_util.keystr(path)]), empty
    )
    assert digest(restored) == digest(state)


@every_optimizer
def test_the_state_is_written_and_read_by_flax(make):
    serialization = pytest.importorskip("flax.serialization")
    _, state = plain(make, PARAMS)
    empty = by_itself(make)[1](PARAMS)
    assert digest(serialization.from_bytes(empty, serialization.to_bytes(state))) == digest(state)


@every_optimizer
def test_the_state_is_written_and_read_by_orbax(make, tmp_path):
    import orbax.checkpoint as ocp

    _, state = plain(make, PARAMS)
    if not jax.tree.leaves(state):
        pytest.skip("nothing to write")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        found = checkpointer.restore(tmp_path / "state", by_itself(make)[1](PARAMS))
    assert digest(found) == digest(state)


def test_what_needs_the_loss_says_so_and_gets_it_through_optax():
    sophia = optimizers.get("sophia", learning_rate=0.1)
    grads = jax.grad(quadratic)(PARAMS)
    for bare in (sophia, optax.chain(sophia, optax.identity())):
        with pytest.raises(InvalidValueError, match=r"obj_fn=loss.*as_optax"):
            bare.update(grads, bare.init(PARAMS), PARAMS)
    alone, _ = sophia.update(grads, sophia.init(PARAMS), PARAMS, obj_fn=quadratic)
    chain = optax.chain(as_optax(sophia), optax.identity())
    chained, _ = chain.update(grads, chain.init(PARAMS), PARAMS, obj_fn=quadratic)
    close(chained, alone)


def test_an_optimizer_equals_itself_alone_and_so_do_its_methods():
    one, other = optimizers.adam(0.1), optimizers.adam(0.1)
    assert one == one
    assert one != other
    assert one.update == one.update
    assert one.update != one.init
    assert one.update != other.update
    assert len({one.update, one.update, other.update}) == 2
    assert as_optax(one) == as_optax(one)


def test_arguments_can_be_donated_by_name():
    optimizer = registered("star")
    update = jax.jit(optimizer.update, donate_argnames="state")
    state = optimizer.init(PARAMS)
    update(gradients(PARAMS), state, PARAMS)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state) if leaf.size > 1)


def test_a_learned_direction_takes_clipping_schedules_and_decoupled_decay():
    rates, decay = (1.0, 0.25), 0.01
    alone, init, update = by_itself(MADE["pretrained star"])
    composed = optax.chain(
        optax.clip_by_global_norm(0.1),
        scale_by_learned(alone),
        optax.add_decayed_weights(decay),
        optax.scale_by_learning_rate(optax.piecewise_constant_schedule(1.0, {1: 0.25})),
    )
    params, state, own = PARAMS, composed.init(PARAMS), init(PARAMS)
    for seed, rate in enumerate(rates):
        grads = gradients(params, seed)
        updates, state = jax.jit(composed.update)(grads, state, params)
        norm = optax.tree.norm(grads)
        clipped = jax.tree.map(lambda leaf, norm=norm: 0.1 * leaf / norm, grads)
        learned, own = update(clipped, own, params)
        expected = jax.tree.map(
            lambda step, leaf, rate=rate: rate * (step - decay * leaf), learned, params
        )
        close(updates, expected)
        params = optax.apply_updates(params, updates)
