import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from optoscope import bench, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import as_key, is_key, key_numbers, with_numbers

RESULTS = """
import sys
import jax, numpy as np, optax
jax.config.update("jax_num_cpu_devices", 2)
from optoscope import bench, meta, optimizers, tasks, training
from optoscope._core.compilation_cache import enable_compilation_cache
from optoscope.analysis import noise

enable_compilation_cache()  # the next process need not compile the same programs
key = {"typed": jax.random.key, "raw": jax.random.PRNGKey}[sys.argv[1]](3)
task = tasks.get("quadratic")
few, many = (training.train(task, optimizers.sgd(0.1), 5, key=key, num_runs=4, chunk_size=n).losses
             for n in (1, 4))
np.testing.assert_allclose(few, many, rtol=1e-5)
found = bench.evaluate(task, {"a": optimizers.sgd(0.1), "b": optimizers.adam(0.1)}, 5, key=key,
                       num_runs=3)
a, b = (found.optimizers[name].losses for name in "ab")
np.testing.assert_array_equal(a[:, 0], b[:, 0])
np.testing.assert_allclose(a, many[:3], rtol=1e-5)
space = {"learning_rate": bench.LogUniform(1e-3, 0.1)}
search = bench.random_search(task, optimizers.sgd, space, 3, num_steps=3, key=key)
ends = []
for devices in (1, 2):
    for kind in (meta.PES, meta.TruncatedBackprop, meta.FullBackprop):
        count = {"num_particles" if kind is meta.PES else "num_tasks": 2}
        extra = {} if kind is meta.FullBackprop else {"truncation": 2}
        estimator = kind(task, horizon=4, devices=devices, **count, **extra)
        result = meta.Trainer(estimator, optax.sgd(0.01)).run(optimizers.sgd(0.1), 2, key=key)
        ends.append(float(result.optimizer.hyperparameters["learning_rate"]))
np.testing.assert_allclose(ends[:3], ends[3:], rtol=1e-5)
params = tasks.get("digits-mlp-relu").init(key)
optimizers.get("lstm", key=key)
print([round(float(x), 5) for x in (*many[:, -1], search.best["learning_rate"], *ends)])
"""


def results(generator, kind):
    """Prints numbers that should be the same for any generator."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_DEFAULT_PRNG_IMPL"}
    if generator:
        environment["JAX_DEFAULT_PRNG_IMPL"] = generator
    command = [sys.executable, "-c", RESULTS, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def expected():
    return results(None, "typed")


@pytest.mark.parametrize("generator", ["rbg", "unsafe_rbg"])
@pytest.mark.parametrize("kind", ["typed", "raw"])
@pytest.mark.slow
def test_results_do_not_depend_on_the_default_generator(generator, kind, expected):
    assert results(generator, kind) == expected


def test_results_do_not_depend_on_rbg(expected):
    assert results("rbg", "typed") == expected


def numbers(key):
    return jax.random.key_data(key).tolist()


def test_every_kind_of_key_becomes_the_same():
    expected = [0, 7]
    for key in (
        jax.random.key(7),
        jax.random.PRNGKey(7),
        jax.random.key(7, impl="rbg"),
        jax.random.key(7, impl="unsafe_rbg"),
        jax.random.key_data(jax.random.key(7, impl="rbg")),
        np.asarray(jax.random.PRNGKey(7)),
    ):
        assert numbers(as_key(key)) == expected


def test_keys_that_were_split_stay_apart():
    split = jax.random.split(jax.random.key(7, impl="rbg"), 50)
    assert len({tuple(numbers(as_key(key))) for key in split}) == 50


NO_KEYS = (3, "seed", None, 0.5, np.zeros(2), jax.random.split(jax.random.key(0)))


@pytest.mark.parametrize("wrong", NO_KEYS, ids=str)
def test_what_is_no_key_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="key"):
        as_key(wrong)


@pytest.mark.parametrize("make", [jax.random.PRNGKey, lambda s: jax.random.key(s, impl="rbg")])
def test_public_functions_take_every_kind(make):
    task, optimizer = tasks.get("quadratic"), optimizers.sgd(0.1)
    expected = training.train(task, optimizer, 3, key=jax.random.key(5)).losses
    found = training.train(task, optimizer, 3, key=make(5)).losses
    np.testing.assert_array_equal(found, expected)
    bench.evaluate(task, {"sgd": optimizer}, 2, key=make(5), num_runs=1)


def test_numbers_of_keys_and_back():
    key = jax.random.key(3, impl="rbg")
    assert is_key(key)
    back = with_numbers(key, key_numbers(key))
    assert back.dtype == key.dtype
    assert numbers(back) == numbers(key)
    array = np.ones(3)
    assert key_numbers(array) is array
    assert with_numbers(array, array) is array


def test_no_module_asks_for_the_default_generator():
    """Keys are made by `new_key`, and wrapped by `from_data`, which name the generator."""
    import pathlib
    import re

    import optoscope

    root = pathlib.Path(optoscope.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        if path.name == "keys.py" and path.parent.name == "_core":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = re.search(r"random\.(key|PRNGKey|wrap_key_data)\(", line)
            # What a user writes: in examples and in messages.
            shown = re.match(r"\s*(>>>|\.\.\.)", line) or "`" in line or "key=jax.random" in line
            if code and not shown:
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()}")
    assert not found, found
