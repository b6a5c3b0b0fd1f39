"""Models of other libraries as tasks: what is trained moves, what is state is threaded."""

from types import SimpleNamespace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, tasks, training
from optoscope._core.errors import InvalidValueError
from optoscope.tasks._contract import _unused

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32) + 3.0
Y = (X[:, 0] > X[:, 1]).astype(np.int32)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def loss_of(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


def linen_task(**options):
    nn = pytest.importorskip("flax.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, inputs, train):
            hidden = nn.BatchNorm(use_running_average=not train, momentum=0.5)(inputs)
            hidden = nn.Dropout(0.5, deterministic=not train)(nn.Dense(16)(hidden))
            return nn.Dense(2)(nn.relu(hidden))

    model = Model()
    found = tasks.from_flax(
        model,
        lambda model, batch: cross_entropy(model(batch[0], train=True), batch[1]),
        (X, Y),
        batch_size=16,
        validation=(X, Y),
        metrics={"loss": lambda m, batch: cross_entropy(m(batch[0], train=False), batch[1])},
        **options,
    )
    return found, model


def nnx_task():
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(4, momentum=0.5, rngs=rngs)
            self.first = nnx.Linear(4, 16, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(16, 2, rngs=rngs)

        def __call__(self, inputs):
            return self.last(nnx.relu(self.dropout(self.first(self.norm(inputs)))))

    def loss(model, batch):
        return cross_entropy(model(batch[0]), batch[1])

    return tasks.from_nnx(
        lambda key: Model(nnx.Rngs(key)), loss, (X, Y), batch_size=16, validation=(X, Y)
    )


class Normed(eqx.Module):
    """An Equinox model with batch normalization, dropout and a state."""

    norm: eqx.nn.BatchNorm
    layers: eqx.nn.MLP
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", momentum=0.5, mode="batch")
        self.layers = eqx.nn.MLP(4, 2, 16, 1, key=key)
        self.dropout = eqx.nn.Dropout(0.2)

    def __call__(self, inputs, state, key=None):
        hidden, state = self.norm(inputs, state)
        return self.layers(self.dropout(hidden, key=key)), state


def equinox_task():
    def forward(model, state, inputs, key=None):
        return jax.vmap(
            lambda one, state: model(one, state, key),
            in_axes=(0, None),
            out_axes=(0, None),
            axis_name="batch",
        )(inputs, state)

    def loss(model, state, batch, key):
        logits, state = forward(model, state, batch[0], key)
        return cross_entropy(logits, batch[1]), state

    return tasks.from_equinox(
        lambda key: eqx.nn.make_with_state(Normed)(key),
        loss,
        (X, Y),
        batch_size=16,
        validation=(X, Y),
        metrics={"error": lambda m, s, b: jnp.mean(jnp.argmax(forward(m, s, b[0])[0], 1) != b[1])},
    )


class Transformed(NamedTuple):
    """As Haiku's `transform` gives it; a stand-in, since Haiku is not installed."""

    init: object
    apply: object


def haiku_task(stateful):
    def init(key, inputs):
        params = {"linear": {"w": jax.random.normal(key, (inputs.shape[1], 2)), "b": jnp.zeros(2)}}
        return (params, {"mean": jnp.zeros(4)}) if stateful else params

    def logits(params, key, inputs):
        noise = 0.01 * jax.random.normal(key, inputs.shape)
        return (inputs + noise) @ params["linear"]["w"] + params["linear"]["b"]

    def with_state(params, state, key, inputs):
        after = {"mean": 0.5 * state["mean"] + 0.5 * inputs.mean(0)}
        return logits(params, key, inputs - after["mean"]), after

    pair = Transformed(init, with_state if stateful else logits)

    def loss(model, batch):
        return cross_entropy(model(batch[0]), batch[1])

    return tasks.from_haiku(pair, loss, (X, Y), batch_size=16, validation=(X, Y))


MAKERS = {
    "linen": lambda: linen_task()[0],
    "nnx": nnx_task,
    "equinox": equinox_task,
    "haiku": lambda: haiku_task(False),
    "haiku with state": lambda: haiku_task(True),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_model_learns_and_its_state_is_no_parameter(name):
    task = MAKERS[name]()
    params = task.init(KEY)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    run = training.train(task, optimizers.adam(0.05), 60, key=KEY, num_runs=2)
    assert (run.losses[:, -20:].mean(1) < 0.85 * run.losses[:, :3].mean(1)).all()
    first = jax.tree.map(lambda leaf: leaf[0], (run.params, run.model_state))
    found = task.validate(*first)
    assert float(found["loss"]) < 0.6
    means = [leaf for leaf in jax.tree.leaves(first[1]) if getattr(leaf, "shape", ()) == (4,)]
    if name != "haiku":
        # The running mean of the inputs: half a momentum forgets its start in sixty steps.
        assert any(np.allclose(mean, X.mean(0), atol=0.6) for mean in means)
    assert run.losses[0, 0] != run.losses[1, 0]


def test_parameters_of_linen_are_those_of_the_module_and_the_loss_is_its_own():
    task, model = linen_task(name="mine")
    assert task.metadata["name"] == "mine"
    params, state = task.init(KEY), task.init_state(KEY)
    rngs = {"params": KEY, "dropout": jax.random.fold_in(KEY, 1)}
    expected = model.init(rngs, jnp.zeros((16, 4)), train=True)
    for one, other in zip(
        jax.tree.leaves(params), jax.tree.leaves(expected["params"]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert set(state) == {"batch_stats"}
    output = model.apply({"params": params, **state}, X, train=False)
    value = task.validate(params, state)["loss"]
    np.testing.assert_allclose(value, cross_entropy(output, Y), rtol=1e-6)


def test_dropout_of_a_bridged_model_is_another_one_every_step():
    task, _ = linen_task()
    params, state = task.init(KEY), task.init_state(KEY)
    batch = (jnp.asarray(X[:16]), jnp.asarray(Y[:16]))
    losses = {
        float(task.loss_with_state(params, state, batch, jax.random.key(seed))[0])
        for seed in range(3)
    }
    assert len(losses) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: tasks.from_flax(object(), cross_entropy, (X, Y)),
            "Models of flax.nnx have tasks.from_nnx",
        ),
        (
            lambda: tasks.from_haiku(SimpleNamespace(init=1), cross_entropy, (X, Y)),
            "a pair of init and",
        ),
        (lambda: tasks.from_flax(Normed, cross_entropy, (X, Y)), "this is a class"),
        (
            lambda: tasks.from_haiku(
                Transformed(lambda key: {}, lambda *a: 0), lambda model, batch: 0.0, (X, Y)
            ),
            "never calls the model",
        ),
        (
            lambda: tasks.from_equinox(
                lambda key: {"w": jnp.ones(2), "i": jnp.arange(2)}, lambda m, b: 0.0, (X, Y)
            ),
            "neither trained nor shared",
        ),
    ],
)
def test_what_cannot_be_bridged_is_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_parameters_that_the_loss_ignores_are_named():
    def make(loss):
        return tasks.from_functions(
            lambda key: {"w": jax.random.normal(key, (4,)), "mean": jnp.zeros(4)}, loss, (X, Y)
        )

    unused = make(lambda p, batch: jnp.mean((batch[0] @ p["w"] - batch[1]) ** 2))
    stopped = make(
        lambda p, b: jnp.mean(((b[0] - jax.lax.stop_gradient(p["mean"])) @ p["w"] - b[1]) ** 2)
    )
    for task in (unused, stopped):
        with pytest.warns(UserWarning, match=r"parameter \['mean'\], so that its gradient is"):
            training.train(task, optimizers.sgd(1e-3), 2, key=KEY)
    # Said once for a task, and never where all are used.
    training.train(unused, optimizers.sgd(1e-3), 2, key=KEY)
    used = make(lambda p, b: jnp.mean(((b[0] - p["mean"]) @ p["w"] - b[1]) ** 2))
    training.train(used, optimizers.sgd(1e-3), 2, key=KEY)


class Constant(tasks.Task):
    """A linear loss: its gradient is constant, and not zero."""

    def init(self, key):
        return {"slope": jax.random.normal(key), "none": jnp.zeros(3)}

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return 2.0 * params["slope"]


def test_a_class_of_ones_own_is_looked_at_too():
    with pytest.warns(UserWarning, match=r"of Constant does not .* \['none'\]") as seen:
        training.train(Constant(), optimizers.sgd(0.1), 2, key=KEY)
    assert "slope" not in str(seen[0].message)


class OfTheLibrary(Constant):
    """As if it were one of the library's own."""

    size: int = eqx.field(static=True)

    __module__ = "optoscope.tasks._constant"


class Constants(tasks.TaskDistribution):
    """Tasks that are drawn."""

    def sample(self, key):
        return Constant()


@pytest.mark.parametrize(
    ("make", "times"),
    [
        # Again where a setting differs, which may be what leaves a parameter out.
        (lambda: [OfTheLibrary(1), OfTheLibrary(2), OfTheLibrary(1)], 2),
        (lambda: [Constants(), Constants()], 1),
    ],
)
def test_tasks_of_the_library_and_distributions_are_looked_at_once(make, times, monkeypatch):
    monkeypatch.setattr("optoscope.tasks._contract._KINDS", set())
    with pytest.warns(UserWarning, match=r"does not depend on the parameter \['none'\]") as seen:
        list(map(tasks.as_distribution, make()))
    assert len(seen) == times


@pytest.mark.parametrize("name", ["quadratic", "rosenbrock", "digits-mlp-relu", "digits-cnn"])
def test_no_parameter_of_a_registered_task_is_said_to_be_unused(name):
    assert _unused(tasks.get(name)) == []


class Shuffled:
    """The part of a data set of Hugging Face that is used."""

    def __init__(self, order=None, form=None):
        self.order, self.form = np.arange(20) if order is None else order, form

    def with_format(self, form):
        return type(self)(self.order, form)

    def shuffle(self, seed):
        return type(self)(np.random.default_rng(seed).permutation(self.order), self.form)

    def iter(self, batch_size, drop_last_batch=False):
        assert self.form == "numpy"
        for start in range(0, len(self.order), batch_size):
            index = self.order[start : start + batch_size]
            if len(index) == batch_size or not drop_last_batch:
                yield {"x": X[index], "y": index.astype(np.float32)}


class MapDataset(list):
    """The part of Grain's `MapDataset` that is used."""

    def shuffle(self, *, seed):
        order = np.random.default_rng(seed).permutation(len(self))
        return MapDataset(self[index] for index in order)

    def batch(self, batch_size, drop_remainder=False):
        whole = len(self) // batch_size if drop_remainder else -(-len(self) // batch_size)
        return MapDataset(
            {"x": X[self[i * batch_size : (i + 1) * batch_size]],
             "y": np.asarray(self[i * batch_size : (i + 1) * batch_size], np.float32)}
            for i in range(whole)
        )  # fmt: skip

    def to_iter_dataset(self):
        return iter(self)


@pytest.mark.parametrize("data", [Shuffled(), MapDataset(range(20))], ids=["hugging face", "grain"])
def test_data_sets_of_others_are_shuffled_by_the_seed_and_cut(data):
    task = tasks.from_functions(
        lambda key: jax.random.normal(key, (4,)),
        lambda p, batch: jnp.mean((batch["x"] @ p - batch["y"]) ** 2),
        data,
        batch_size=8,
    )

    class Seen(training.Probe):
        def measure(self, record):
            return record.batch["y"]

    runs = [
        np.asarray(
            training.train(task, one, 4, key=KEY, probes={"y": Seen()}, num_runs=2).records["y"]
        )
        for one in (optimizers.sgd(1e-3), optimizers.adam(1e-3))
    ]
    np.testing.assert_array_equal(*runs)
    for run in runs[0]:
        # Two whole batches a pass, no example twice in it, and another order in the next.
        assert len(set(run[:2].ravel())) == len(set(run[2:].ravel())) == 16
        assert not np.array_equal(run[:2], run[2:])
    assert not np.array_equal(runs[0][0], runs[0][1])
    if isinstance(data, Shuffled):
        with pytest.raises(InvalidValueError, match="needs batch_size"):
            tasks.from_functions(lambda key: key, lambda p, b: p, data)


def test_batches_of_grain_that_are_cut_already_are_taken_as_they_are():
    task = tasks.from_functions(
        lambda key: jax.random.normal(key),
        lambda p, batch: jnp.mean(p * batch["x"]),
        MapDataset(range(20)).batch(5),
    )
    assert task.sample_batch(KEY)["x"].shape == (5, 4)
