"""Tasks around another task: whatever the inner one has, the outer one has too."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers, tasks, training
from optoscope.tasks import es_gradient, reparametrized

KEY = jax.random.key(0)
WRAPPERS = {
    "reparametrized": lambda task: reparametrized(task, 1, 1),
    "es_gradient": lambda task: es_gradient(task, num_pairs=2),
}


def _stateful():
    """Its loss is the key's random number; the state counts the steps."""
    return tasks.from_functions(
        lambda key: (jnp.ones(3), {"steps": jnp.zeros(())}),
        lambda params, state, batch, key: (
            jax.random.uniform(key) + 0.0 * jnp.sum(params),
            {"steps": state["steps"] + 1},
        ),
        lambda key: None,
        has_state=True,
    )


def _streaming():
    """Its loss is the number of the batch in a stream that begins anew with every run."""
    return tasks.from_functions(
        lambda key: jnp.ones(3),
        lambda params, batch: jnp.mean(batch) + 0.0 * jnp.sum(params),
        lambda seed: (np.full(2, float(number)) for number in itertools.count()),
    )


def _run(task, steps=6):
    return training.train(task, optimizers.sgd(0.1), steps, key=KEY)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_model_state_and_the_key_of_the_loss_are_the_tasks(wrapper):
    run = _run(WRAPPERS[wrapper](_stateful()))
    assert run.model_state["steps"].tolist() == [6.0]
    assert len(np.unique(run.losses)) == 6


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_stream_continues_from_step_to_step(wrapper):
    assert _run(WRAPPERS[wrapper](_streaming())).losses.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_a_scale_of_one_is_the_task_itself():
    task = _stateful()
    assert _run(reparametrized(task, 1, 1)).losses.tolist() == _run(task).losses.tolist()


PLAIN = """
import jax, jax.numpy as jnp, numpy as np
from optoscope import optimizers, tasks, training

class Plain:
    def init(self, key):
        return jnp.ones(3)

    def sample_batch(self, key):
        return jax.random.normal(key, (3,))

    def loss(self, params, batch):
        return jnp.sum((params - batch) ** 2)

key = jax.random.key(0)

def run(task):
    return training.train(task, optimizers.sgd(0.1), 3, key=key).losses

scaled, estimated = tasks.reparametrized(Plain(), 1, 1), tasks.es_gradient(Plain())
print(scaled.metadata["class"], estimated.metadata["class"], tasks.fixed(Plain()).metadata)
for task in (scaled.sample(key), estimated):
    print(task.validate(jnp.ones(3)), task.accuracy(jnp.ones(3)))
print((run(scaled) == run(Plain())).all(), np.isfinite(run(estimated)).all())
"""


def test_a_task_with_no_more_than_it_must_have_can_be_wrapped():
    """In a process of its own: here the types of signatures are checked."""
    command = [sys.executable, "-c", PLAIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "Plain Plain {'class': 'Plain'}",
        "{} None",
        "{} None",
        "True True",
    ], done.stderr


def test_estimates_with_a_model_state_are_gradients():
    quadratic = tasks.from_functions(
        lambda key: (jnp.array([1.0, -2.0]), jnp.zeros(())),
        lambda params, state, batch, key: (0.5 * jnp.sum(params**2) + state, state),
        lambda key: None,
        has_state=True,
    )
    task = es_gradient(quadratic, num_pairs=4000)
    params, batch = quadratic.init(KEY), task.sample_batch(KEY)

    def loss(params):
        return task.loss_with_state(params, jnp.ones(()), batch, KEY)[0]

    value, gradient = jax.value_and_grad(loss)(params)
    assert float(value) == pytest.approx(3.5)
    np.testing.assert_allclose(gradient, params, atol=0.15)
