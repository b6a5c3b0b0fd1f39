import inspect
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, check_count
from optoscope.optimizers._domains import DOMAINS, check_hyperparameters

HAND_DESIGNED = [name for name in optimizers.names() if not optimizers.REGISTRY[name].learned]
ARGUMENTS = [
    (name, argument)
    for name in HAND_DESIGNED
    for argument in inspect.signature(optimizers.REGISTRY[name].create).parameters
]


def value(argument, number):
    return [number] if argument == "betas" else number


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_every_hyperparameter_has_a_domain_and_keeps_to_it(name, argument):
    least, greatest = DOMAINS[argument]
    for number in (np.nan, np.inf, -np.inf, least - 0.5, *([greatest + 1] * (greatest < np.inf))):
        with pytest.raises(InvalidValueError, match=f"{argument} of {name} is"):
            optimizers.get(name, **{argument: value(argument, number)})
        if argument != "betas":
            with pytest.raises(InvalidValueError, match=argument):
                optimizers.REGISTRY[name].create(**{argument: jnp.asarray(number)})
    for number in (least, min(greatest, 1.0)):
        optimizers.get(name, **{argument: value(argument, number)})


@pytest.mark.parametrize("wrong", ["fast", None, object()])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="learning_rate of adam"):
        check_hyperparameters("adam", {"learning_rate": wrong})


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_traced_values_pass(name):
    def rate(learning_rate):
        made = optimizers.get(name, learning_rate=learning_rate)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(made))

    assert np.isfinite(jax.jit(jax.grad(rate))(0.1))
    assert np.isfinite(jax.vmap(rate)(jnp.array([0.1, 0.2]))).all()


WRONG_COUNTS = (2.5, 0, -3, np.nan, np.inf, True, "7", None)


@pytest.mark.parametrize("wrong", WRONG_COUNTS, ids=str)
def test_counts_are_whole_numbers(wrong):
    with pytest.raises(InvalidValueError, match="steps is"):
        check_count("steps", wrong)


def test_half_a_step_is_refused():
    """In a process of its own: here the types of signatures are checked before the values."""
    code = (
        "import jax; from optoscope import optimizers, tasks, training\n"
        "training.train(tasks.get('quadratic'), optimizers.sgd(), 2.5, key=jax.random.key(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "num_steps is 2.5; it must be a whole number" in done.stderr


@pytest.mark.parametrize("count", [1, np.int64(3), np.asarray(2), jnp.asarray(2)])
def test_whole_numbers_of_any_kind_pass(count):
    check_count("steps", count)
