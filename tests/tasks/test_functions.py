"""Tasks from functions: any model, any data."""

import time
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import meta, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.tasks._streams import _seeded_loader
from optoscope.training._run import split_run_key

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 48).astype(np.float32)


def slope_loss(params, batch):
    return jnp.mean((params * batch["x"] - batch["y"]) ** 2)


def slope(batches, **options):
    return tasks.from_functions(lambda key: jax.random.normal(key), slope_loss, batches, **options)


def passes(seed):
    """Batches of four, in the order that the seed gives, and a smaller one at the end."""
    order = np.random.default_rng(seed).permutation(46)
    for start in range(0, 46, 4):
        index = order[start : start + 4]
        yield {"x": X[index], "y": 3 * X[index]}


def test_arrays_give_the_batches_that_the_draw_says():
    task = slope({"x": X, "y": 3 * X}, batch_size=5)
    batch = task.sample_batch(KEY)
    assert batch["x"].shape == (5,)
    np.testing.assert_allclose(batch["y"], 3 * batch["x"])
    assert task.metadata["num_params"] == 1


def test_a_function_of_a_key_is_called_with_the_steps_key():
    task = slope(lambda key: {"x": jax.random.normal(key, (4,)), "y": jnp.zeros(4)})
    batch_key = split_run_key(training.run_keys(KEY, 1)[0])[2]
    seen = training.train(task, optimizers.sgd(0.0), 3, key=KEY, probes={"x": Inputs()})
    for step in range(3):
        expected = jax.random.normal(jax.random.fold_in(batch_key, step), (4,))
        np.testing.assert_allclose(seen.records["x"][0, step], expected, rtol=1e-6)


class Inputs(training.Probe):
    def measure(self, record):
        return record.batch["x"]


def test_a_stream_is_read_pass_by_pass_and_the_same_for_every_optimizer():
    task = slope(passes)
    runs = [
        training.train(task, optimizer, 25, key=KEY, num_runs=2, probes={"x": Inputs()})
        for optimizer in (optimizers.sgd(0.1), optimizers.adam(0.1))
    ]
    seen = np.asarray(runs[0].records["x"])
    np.testing.assert_array_equal(seen, runs[1].records["x"])
    assert not np.array_equal(seen[0], seen[1])
    for run in seen:
        # Eleven whole batches a pass: no example twice in a pass, and each pass in another order.
        first, second = run[:11].ravel(), run[11:22].ravel()
        assert len(set(first)) == len(set(second)) == 44
        assert not np.array_equal(first, second)
    np.testing.assert_allclose(runs[0].params, 3.0, atol=1.0)


def test_a_step_of_a_stream_does_not_depend_on_what_was_asked_before():
    forward = [tasks.Stream(passes).batch(7, step)["x"] for step in (0, 5, 30)]
    stream = tasks.Stream(passes)
    backward = [stream.batch(7, step)["x"] for step in (30, 5, 0)]
    np.testing.assert_array_equal(forward, backward[::-1])


def test_a_list_of_batches_is_taken_in_its_order():
    batches = [{"x": X[:4] + i, "y": X[:4]} for i in range(3)]
    found = training.train(
        slope(batches), optimizers.sgd(0.1), 4, key=KEY, probes={"x": Inputs()}
    ).records["x"][0]
    np.testing.assert_allclose(found[:, 0], X[0] + np.array([0, 1, 2, 0]))


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (passes(0), "gives its batches once"),
        (iter([1]), "function of a seed"),
        (lambda seed: iter([]), "give no batch"),
        (3, "the data are a int"),
        ((X, X[:3]), r"\[3, 48\] examples"),
    ],
)
def test_data_that_cannot_be_used(batches, message):
    with pytest.raises(InvalidValueError, match=message):
        slope(batches)


def test_batches_of_several_shapes_are_refused():
    stream = tasks.Stream(lambda seed: iter([np.ones((2, 3)), np.ones((2, 4))]))
    with pytest.raises(InvalidValueError, match="same shapes"):
        stream.batch(0, 1)


class FromIterator(tasks.Task):
    """Reads its batches from a generator, which a compiled program does once."""

    def init(self, key):
        return jnp.zeros(())

    def sample_batch(self, key):
        return jnp.asarray(next(NUMBERS))

    def loss(self, params, batch):
        return (params - batch) ** 2


NUMBERS = iter(np.arange(100.0))


def test_next_in_sample_batch_is_an_error_that_names_the_right_way():
    with pytest.raises(InvalidValueError, match=r"that one batch.*from_functions"):
        training.train(FromIterator(), optimizers.sgd(0.1), 3, key=KEY)


def counting(**options):
    """A model whose state counts its steps, and whose loss adds noise that its key draws."""

    def loss(params, state, batch, key):
        return jnp.sum(params**2) + jax.random.normal(key), {"count": state["count"] + 1}

    return tasks.from_functions(
        lambda key: (jnp.ones(2), {"count": jnp.zeros((), jnp.int32)}),
        loss,
        lambda key: None,
        has_state=True,
        **options,
    )


def test_model_state_is_threaded_and_never_updated_by_the_optimizer():
    run = training.train(counting(), optimizers.adam(0.1), 7, key=KEY, num_runs=2)
    assert run.model_state["count"].tolist() == [7, 7]
    assert set(jax.tree.leaves(jax.tree.map(jnp.shape, run.params))) == {2}
    noise = np.asarray(run.losses)
    assert len(np.unique(noise)) == noise.size


def test_the_loss_gets_another_key_every_step_but_the_same_for_every_optimizer():
    one, other = (
        np.asarray(training.train(counting(), optimizers.sgd(rate), 5, key=KEY).losses)
        for rate in (0.0, 1e-8)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda task: meta.TruncatedBackprop(task, num_tasks=2, truncation=4, horizon=8),
        lambda task: meta.FullBackprop(task, num_tasks=2, horizon=4),
        lambda task: meta.PES(task, num_particles=2, truncation=4, horizon=8, stagger=False),
        lambda task: meta.FullES(task, num_particles=2, horizon=4),
    ],
)
def test_every_estimator_threads_the_model_state(make):
    estimator = make(tasks.fixed(counting()))
    optimizer = optimizers.sgd(0.01)
    workers = jax.jit(estimator.init)(optimizer, KEY)
    estimate, workers = jax.jit(estimator.estimate)(optimizer, workers, jax.random.key(1))
    # The loss falls faster with a larger rate.
    assert float(estimate.gradient.hyperparameters["learning_rate"]) < 0
    if workers.model_state != ():
        assert np.all(np.asarray(workers.model_state["count"]) == 4)


def test_validation_and_metrics():
    data = {"x": X, "y": 3 * X}
    task = slope(
        data, validation=data, metrics={"error": lambda params, batch: jnp.abs(params - 3)}
    )
    found = task.validate(jnp.asarray(2.0))
    assert float(found["error"]) == 1.0
    np.testing.assert_allclose(found["loss"], np.mean(X**2), rtol=1e-5)
    replaced = slope(data, validation=data, metrics={"loss": lambda params, batch: params})
    assert float(replaced.validate(jnp.asarray(2.0))["loss"]) == 2.0
    assert slope(data).validate(jnp.asarray(2.0)) == {}


def test_a_pytorch_loader_is_seeded():
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.arange(12.0), torch.arange(12.0))
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, shuffle=True)
    task = tasks.from_functions(
        lambda key: jnp.zeros(()), lambda params, batch: jnp.mean(batch[0] * params), loader
    )
    passes_ = [
        [tasks.Stream(lambda seed: task.stream._make(seed)).batch(seed, i)[0] for i in range(4)]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(passes_[0], passes_[1])
    assert not np.array_equal(passes_[0], passes_[2])
    assert sorted(np.ravel(passes_[0])) == list(range(12))


def test_passes_over_one_pytorch_loader_that_begin_at_once_do_not_disturb_each_other():
    torch = pytest.importorskip("torch")

    class Slow(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            time.sleep(1e-4)  # another thread's turn
            return float(index)

    loader = torch.utils.data.DataLoader(Slow(), batch_size=8, shuffle=True)
    seeds = [number % 4 for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        passes = list(
            pool.map(lambda seed: [b.tolist() for b in _seeded_loader(loader, seed)], seeds)
        )
    alone = [[b.tolist() for b in _seeded_loader(loader, seed)] for seed in range(4)]
    assert passes == [alone[seed] for seed in seeds]


def test_a_flax_network_with_batch_norm_and_dropout():
    linen = pytest.importorskip("flax.linen")

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            x = linen.Dense(8)(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(x))
            return linen.Dense(1)(linen.Dropout(0.1, deterministic=not train)(x))

    network, inputs = Network(), np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    targets = inputs[:, :1] * inputs[:, 1:2]

    def init(key):
        variables = network.init(key, inputs[:2], train=False)
        return variables["params"], variables["batch_stats"]

    def loss(params, state, batch, key):
        variables = {"params": params, "batch_stats": state}
        out, updated = network.apply(
            variables, batch[0], train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return jnp.mean((out - batch[1]) ** 2), updated["batch_stats"]

    def error(params, state, batch):
        out = network.apply({"params": params, "batch_stats": state}, batch[0], train=False)
        return jnp.mean((out - batch[1]) ** 2)

    task = tasks.from_functions(
        init, loss, (inputs, targets), has_state=True, validation=(inputs, targets),
        metrics={"loss": error},
    )  # fmt: skip
    run = training.train(task, optimizers.adam(0.02), 150, key=KEY)
    params, state = jax.tree.map(lambda leaf: leaf[0], (run.params, run.model_state))
    assert float(task.validate(params, state)["loss"]) < 0.5 * np.mean(targets**2)
    # The statistics are those of the data, not something that an optimizer has moved.
    hidden = inputs @ np.asarray(params["Dense_0"]["kernel"]) + params["Dense_0"]["bias"]
    np.testing.assert_allclose(state["BatchNorm_0"]["mean"], np.mean(hidden, axis=0), atol=0.3)


class Line(eqx.Module):
    """Functions that are methods of a module with arrays, which Equinox cannot hash."""

    x: jax.Array

    def start(self, key):
        return jax.random.normal(key)

    def draw(self, key):
        return jax.random.choice(key, self.x, (8,))

    def loss(self, params, batch, key):
        return jnp.mean((params * batch - 3 * batch) ** 2) + 0 * jnp.sum(self.x)

    def distance(self, params, batch):
        return jnp.abs(params - 3) + 0 * jnp.sum(self.x)


def test_methods_of_a_module_are_functions_like_others(recwarn):
    line = Line(jnp.asarray(X))
    metrics = {"distance": line.distance}
    task = tasks.from_functions(line.start, line.loss, line.draw, validation=X, metrics=metrics)
    run = training.train(task, optimizers.adam(0.1), 200, key=KEY)
    assert float(task.validate(run.params[0])["distance"]) < 0.1
    estimator = meta.TruncatedBackprop(tasks.fixed(task), truncation=2, horizon=4)
    optimizer = optimizers.get("lstm")
    meta.Trainer(estimator, optax.adam(1e-3)).run(optimizer, 2, key=KEY)
    assert [str(warning.message) for warning in recwarn] == []
