"""One message for a task, and for an optimizer, that does not give what it must."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import bench, data, meta, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.tasks._contract import check_task

KEY = jax.random.key(0)


def task(start=None, loss=None, batch=None):
    """A task whose parts are as they are given."""

    class Given(tasks.Task):
        def init(self, key):
            return jnp.ones(3) if start is None else start(key)

        def sample_batch(self, key):
            return None if batch is None else batch(key)

        def loss(self, params, batch):
            if loss is None:
                return sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(params))
            return loss(params)

    return Given()


def with_state(loss):
    """A task with a model state {"mean": zeros(2)}, and the loss that is given."""

    class WithState(type(task())):
        def init_state(self, key):
            return {"mean": jnp.zeros(2)}

        def loss_with_state(self, params, state, batch, key):
            return loss(params, state)

    return WithState()


WRONG_TASKS = {
    "complex": (task(lambda key: jnp.ones(3, jnp.complex64)), "complex"),
    "complex beside real": (
        task(lambda key: {"a": jnp.ones(3), "b": jnp.ones(2, jnp.complex64)}),
        "'b'",
    ),
    "whole numbers": (task(lambda key: jnp.arange(3)), "int32"),
    "booleans": (task(lambda key: jnp.ones(3, bool)), "bool"),
    "a key": (task(lambda key: {"key": key, "a": jnp.ones(3)}), "random key"),
    "a string": (task(lambda key: {"name": "me", "a": jnp.ones(3)}), "'me'"),
    "nothing": (task(lambda key: {}), "no parameters"),
    "a loss that is a vector": (task(loss=lambda p: p**2), r"shape \(3,\).*mean"),
    "a loss that is whole": (task(loss=lambda p: jnp.sum(p > 0)), "int32"),
    "a complex loss": (task(loss=lambda p: jnp.sum(p) * 1j), "complex64"),
    "a loss that is text": (task(loss=lambda p: "small"), "'small'"),
    "a loss that is nothing": (task(loss=lambda p: None), "None"),
    "a loss and more": (task(loss=lambda p: (jnp.sum(p), p)), "tuple"),
    "no model state": (with_state(lambda p, state: jnp.sum(p)), "not two things"),
    "a model state of another structure": (
        with_state(lambda p, state: (jnp.sum(p), state | {"steps": 1})),
        "of the structure.*'steps'",
    ),
    "a model state of another shape": (
        with_state(lambda p, state: (jnp.sum(p), {"mean": p})),
        r"of shape \(3,\) at \['mean'\], while the state before has \(2,\)",
    ),
    "a model state of another type": (
        with_state(lambda p, state: (jnp.sum(p), {"mean": jnp.zeros(2, int)})),
        "of type int32 at",
    ),
    "a vector beside a model state": (
        with_state(lambda p, state: (p, state)),
        r"shape \(3,\).*mean",
    ),
}
NO_TASKS = {
    "a number": (3.0, "float is no task.*no init"),
    "a name": ("quadratic", "str is no task"),
    "a class": (tasks.Rosenbrock, "Rosenbrock is a class"),
}

ENTRIES = {
    "train": lambda t: training.train(t, optimizers.sgd(0.1), 2, key=KEY),
    "compile_train": lambda t: training.compile_train(t, optimizers.sgd(0.1), 2),
    "evaluate": lambda t: bench.evaluate(t, {"sgd": optimizers.sgd(0.1)}, 2, key=KEY, num_runs=1),
    "compare": lambda t: bench.compare(t, {}, ["sgd"], num_steps=2, seed=0, num_points=2),
    "search": lambda t: bench.grid_search(
        t, optimizers.sgd, {"learning_rate": [0.1]}, num_steps=2, key=KEY
    ),
    "trainer": lambda t: meta.Trainer(
        meta.PES(tasks.fixed(t), num_particles=1, truncation=1, horizon=2), optax.sgd(0.1)
    ).run(optimizers.sgd(0.1), 1, key=KEY),
    "check": check_task,
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", WRONG_TASKS)
def test_a_wrong_task_is_refused_in_one_message(name, entry):
    wrong, said = WRONG_TASKS[name]
    with pytest.raises(InvalidValueError, match=said) as caught:
        ENTRIES[entry](wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NO_TASKS)
def test_what_is_no_task_is_refused(name):
    wrong, said = NO_TASKS[name]
    with pytest.raises(InvalidValueError, match=said):
        check_task(wrong)


NO_TASK_NO_OPTIMIZER = """
import jax, optax
from optoscope import bench, optimizers, tasks, training
from optoscope.errors import InvalidValueError

key, task, sgd = jax.random.key(0), tasks.get("quadratic"), optimizers.sgd()
for call in (
    lambda: training.train(3.0, sgd, 2, key=key),
    lambda: bench.evaluate("quadratic", {"sgd": sgd}, 2, key=key),
    lambda: bench.compare(tasks.Rosenbrock, {}, ["sgd"], num_steps=2, seed=0),
    lambda: training.train(task, optax.adam, 2, key=key),
    lambda: bench.evaluate(task, {"none": None}, 2, key=key),
):
    try:
        call()
    except InvalidValueError as error:
        print(str(error).split(":")[0])
"""


def test_what_is_no_task_or_no_optimizer_is_refused_by_public_functions():
    """In a process of its own: here the types of signatures are checked."""
    command = [sys.executable, "-c", NO_TASK_NO_OPTIMIZER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "float is no task",
        "str is no task",
        "Rosenbrock is a class, not a task; make one",
        "function is no optimizer",
        "NoneType is no optimizer",
    ], done.stderr


def test_every_registered_task_passes():
    for name in ("quadratic", "digits-mlp-relu", "digits-cnn", "rosenbrock"):
        if name in tasks.names():
            check_task(tasks.get(name))


@pytest.mark.parametrize(("shift", "said"), [(1, "1 to 10"), (-1, "-1 to 8")])
def test_labels_that_are_no_class_are_refused(shift, said):
    digits = data.load("digits")
    shifted = eqx.tree_at(lambda d: d.train.labels, digits, digits.train.labels + shift)
    with pytest.raises(InvalidValueError, match=said):
        tasks.mlp_classification(shifted)


def test_tokens_outside_the_vocabulary_are_refused():
    network = tasks.RecurrentNetwork(3, units=2, embedding_size=2)
    tokens = jnp.array([0, 1, 2, 3, 0, 1], jnp.int32)
    with pytest.raises(InvalidValueError, match="tokens of the split 'train' run from 0 to 3"):
        tasks.LanguageModel(network, {"train": tokens}, 1, 2)


class Given:
    """An optimizer whose parts are as they are given."""

    def __init__(self, update, start=lambda params: {"count": jnp.zeros((), jnp.int32)}):
        self.start, self.step = start, update

    def init(self, params):
        return self.start(params)

    def update(self, grads, state, params=None):
        return self.step(grads, state)


BOWL = task(lambda key: {"a": jnp.ones(3), "b": jnp.ones(2)})
WRONG_OPTIMIZERS = {
    "nothing": (lambda g, s: None, "Given gave nothing"),
    "updates alone": (lambda g, s: g, "a dict"),
    "three things": (lambda g, s: (g, s, s), "tuple of 3"),
    "another structure": (lambda g, s: (jax.tree.leaves(g), s), "updates of the structure"),
    "another shape": (lambda g, s: ({"a": g["a"], "b": jnp.ones(())}, s), r"shape \(\) at \['b'\]"),
    "whole numbers": (lambda g, s: (jax.tree.map(lambda x: x.astype(int), g), s), "int32"),
    "no state": (lambda g, s: (g, None), "a state of the structure"),
    "another type of state": (
        lambda g, s: (g, {"count": s["count"] + 0.5}),
        r"a state of type float32 at \['count'\]",
    ),
    "another shape of state": (
        lambda g, s: (g, {"count": jnp.zeros(2, jnp.int32)}),
        r"a state of shape \(2,\)",
    ),
    "text": (lambda g, s: ({"a": "x", "b": g["b"]}, s), "no array"),
}


@pytest.mark.parametrize("name", WRONG_OPTIMIZERS)
def test_a_wrong_optimizer_is_named_with_what_was_expected(name):
    update, said = WRONG_OPTIMIZERS[name]
    with pytest.raises(InvalidValueError, match=said) as caught:
        training.train(BOWL, Given(update), 2, key=KEY)
    assert "Given" in str(caught.value)
    assert "gives (updates, state)" in str(caught.value)


NOISY = {
    "noisy_sgd": optax.noisy_sgd(0.01, key=0),
    "add_noise": optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(1)), optax.sgd(0.01)),
}


@pytest.mark.parametrize("name", NOISY)
def test_a_key_in_the_state_works(name, tmp_path):
    trained = training.train(BOWL, NOISY[name], 5, key=KEY, num_runs=3, chunk_size=2)
    assert np.isfinite(trained.losses).all()
    assert trained.losses[0, -1] != trained.losses[0, 0]
    found = bench.evaluate(BOWL, {"noisy": NOISY[name]}, 5, key=KEY, num_runs=2)
    np.testing.assert_allclose(found.optimizers["noisy"].losses, trained.losses[:2], rtol=1e-5)
    searched = bench.grid_search(
        BOWL,
        lambda rate: optax.noisy_sgd(rate, key=0),
        {"rate": [0.01, 0.1]},
        num_steps=3,
        key=KEY,
    )
    assert np.isfinite(searched.scores).all()


def test_a_key_in_the_state_is_resumed_exactly(tmp_path):
    """Both in the meta-optimizer's state and in the states of the inner runs."""

    class Noisy(optimizers.OptimizerModule):
        rate: jax.Array

        def init(self, params):
            return jax.random.key(3)

        def update(self, grads, state, params=None, **extra):
            key, own = jax.random.split(state)
            noise = jax.random.normal(own, ())
            return jax.tree.map(lambda g: -self.rate * (g + 0.1 * noise), grads), key

    trainer = meta.Trainer(
        meta.PES(tasks.fixed(BOWL), num_particles=2, truncation=2, horizon=6),
        NOISY["noisy_sgd"],
        steps_per_call=1,
        checkpoint_every=1,
    )
    start = Noisy(jnp.asarray(0.01))
    whole = trainer.run(start, 4, key=KEY)
    trainer.run(start, 2, key=KEY, directory=tmp_path)
    resumed = trainer.run(start, 4, key=KEY, directory=tmp_path)
    assert whole.skipped == 0
    np.testing.assert_array_equal(whole.optimizer.rate, resumed.optimizer.rate)
