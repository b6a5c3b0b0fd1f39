import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

# `analysis` registers its probes.
from optoscope import analysis, optimizers, tasks, training  # noqa: F401
from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import digest, num_bytes
from optoscope.training import Probe, train
from optoscope.training._run import split_run_key
from optoscope.training._train import inner_bytes

KEY = jax.random.key(11)
TRACES = []


class Noisy(tasks.Task):
    """A bowl whose batch is its center, drawn anew each step; it counts how often it is traced."""

    scale: jax.Array

    def init(self, key):
        return {"x": jax.random.normal(key, (3,))}

    def sample_batch(self, key):
        return jax.random.normal(key, (3,))

    def loss(self, params, batch):
        TRACES.append("loss")
        return 0.5 * self.scale * jnp.sum((params["x"] - batch) ** 2)


class Seen(Probe):
    """Everything there is to see of a step."""

    def measure(self, record):
        return {
            "step": record.step,
            "batch": record.batch,
            "x": record.params["x"],
            "grads": record.grads["x"],
            "updates": record.updates["x"],
            "loss": record.loss,
            "state": record.state,
        }


TASK = Noisy(jnp.asarray(1.0))


def close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def by_hand(task, optimizer, num_steps, key, run):
    """One run as a Python loop over the documented keys and the one inner step."""
    run_key = training.run_keys(key, run + 1)[run]
    task_key, init_key, batch_key = split_run_key(run_key)
    problem = tasks.as_distribution(task).sample(task_key)
    inner = training.initial_state(problem, optimizer, init_key)
    step = eqx.filter_jit(training.inner_step)
    records = []
    for index in range(num_steps):
        inner, record = step(problem, optimizer, inner, jax.random.fold_in(batch_key, index))
        records.append(record)
    return inner, records


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        (TASK, optimizers.momentum(0.1)),
        (TASK, optax.adam(0.1)),
        (tasks.get("quadratic"), optimizers.get("lstm", hidden_size=2)),
    ],
    ids=["module", "optax", "learned on a distribution"],
)
def test_equal_to_a_loop_in_python(task, optimizer):
    trajectory = train(task, optimizer, 7, key=KEY, num_runs=2)
    assert trajectory.losses.shape == (2, 7)
    for run in range(2):
        inner, records = by_hand(task, optimizer, 7, KEY, run)
        close(trajectory.losses[run], jnp.stack([record.loss for record in records]))
        close(jax.tree.map(lambda leaf, r=run: leaf[r], trajectory.params), inner.params)
        close(jax.tree.map(lambda leaf, r=run: leaf[r], trajectory.state), inner.optimizer_state)


def test_gradient_descent_on_a_quadratic_in_closed_form():
    problem = tasks.get("quadratic").sample(jax.random.key(0))
    losses = train(problem, optimizers.sgd(0.2), 20, key=KEY).losses[0]
    with jax.enable_x64(True):
        A, b, x = (
            np.asarray(leaf, float) for leaf in (problem.matrix, problem.target, problem.start)
        )
        best = np.linalg.pinv(A) @ b
        values, vectors = np.linalg.eigh(A.T @ A)
        offsets = vectors.T @ (x - best)
        expected = [
            0.5 * np.sum(values * ((1 - 0.2 * values) ** step * offsets) ** 2) for step in range(20)
        ]
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-5)


def test_run_r_does_not_depend_on_how_many_runs_there_are():
    few = train(TASK, optimizers.adam(0.1), 5, key=KEY, num_runs=2)
    many = train(TASK, optimizers.adam(0.1), 5, key=KEY, num_runs=5)
    close(few.losses, many.losses[:2])
    close(few.params, jax.tree.map(lambda leaf: leaf[:2], many.params))
    assert len(set(many.losses[:, 0].tolist())) == 5


def test_two_optimizers_meet_the_same_starts_and_batches():
    probes = {"seen": Seen()}
    one, other = (
        train(TASK, optimizer, 6, key=KEY, num_runs=3, probes=probes).records["seen"]
        for optimizer in (optimizers.sgd(0.1), optimizers.get("lstm", hidden_size=2))
    )
    np.testing.assert_array_equal(one["batch"], other["batch"])
    np.testing.assert_array_equal(one["x"][:, 0], other["x"][:, 0])
    assert not np.allclose(one["x"][:, 1:], other["x"][:, 1:])
    # No batch is seen twice, in a run or by two runs.
    assert len(np.unique(one["batch"].reshape(-1, 3), axis=0)) == 18


def test_every_run_draws_its_own_problem_from_a_distribution_and_shares_a_task():
    losses = train(tasks.get("quadratic"), optimizers.sgd(0.0), 2, key=KEY, num_runs=4).losses
    assert len(set(losses[:, 0].tolist())) == 4
    problem = tasks.get("quadratic").sample(KEY)
    losses = train(problem, optimizers.sgd(0.0), 2, key=KEY, num_runs=4).losses
    assert len(set(losses[:, 0].tolist())) == 1


@pytest.mark.parametrize("chunk_size", [1, 2, 8])
def test_the_chunk_size_changes_nothing(chunk_size):
    def run(chunk_size):
        return train(
            tasks.get("quadratic"), optimizers.adam(0.1), 6, key=KEY, num_runs=5,
            chunk_size=chunk_size, probes={"norms": training.Norms(every=4)},
        )  # fmt: skip

    close(run(chunk_size), run(3))


INTERVALS = [
    {"a": 1},
    {"a": 4},
    {"a": 4, "b": 6},
    {"a": 3, "b": 100},
    {"a": 11},
    {"a": 10, "b": 5, "c": 2},
]


@pytest.mark.parametrize(
    ("intervals", "num_steps"),
    [({"a": 4, "b": 6}, 1), *((intervals, 11) for intervals in INTERVALS)],
    ids=str,
)
def test_probes_see_what_a_loop_sees_at_the_steps_they_name(intervals, num_steps):
    optimizer = optimizers.momentum(0.1)
    probes = {name: Seen(every=every) for name, every in intervals.items()}
    trajectory = train(TASK, optimizer, num_steps, key=KEY, num_runs=2, probes=probes)
    _, records = by_hand(TASK, optimizer, num_steps, KEY, 1)
    assert set(trajectory.records) == set(intervals)
    for name, every in intervals.items():
        steps = tuple(range(0, num_steps, every))
        assert trajectory.measured_steps[name] == steps
        seen = trajectory.records[name]
        assert seen["step"].tolist() == [list(steps)] * 2
        for index, step in enumerate(steps):
            expected = Seen().measure(records[step])
            close(jax.tree.map(lambda leaf, i=index: leaf[1, i], seen), expected)
    close(trajectory.losses[1], jnp.stack([record.loss for record in records]))


@pytest.fixture(scope="module")
def small_run():
    """A run without probes, and the same with all of them, by one program each."""
    task = tasks.MLP((2, 3, 2), "tanh", "layer")
    split = tasks.LabeledBatch(jax.random.normal(KEY, (20, 2)), jnp.arange(20) % 2)
    problem = tasks.Classification(task, {"train": split}, 4)
    optimizer = optimizers.get("lstm", hidden_size=2)
    probes = {name: training.PROBES[name](every=3) for name in training.PROBES.names()}
    return [train(problem, optimizer, 7, key=KEY, num_runs=2, probes=some) for some in ({}, probes)]


def test_registered_probes_leave_the_run_alone(small_run):
    bare, probed = small_run
    close((bare.losses, bare.params, bare.state), (probed.losses, probed.params, probed.state))


@pytest.mark.parametrize("name", training.PROBES.names())
def test_a_registered_probe_has_its_records(name, small_run):
    leaves = jax.tree.leaves(small_run[1].records[name])
    assert leaves
    for leaf in leaves:
        assert leaf.shape[:2] == (2, 3)
    # Not every number exists on a problem this small, but some must.
    assert any(np.isfinite(leaf).all() for leaf in leaves)


def test_compile_train_gives_the_runs_of_train_in_pieces():
    optimizer, probes = optimizers.adam(0.1), {"seen": Seen(every=2)}
    whole = train(TASK, optimizer, 5, key=KEY, num_runs=4, probes=probes)
    compiled = training.compile_train(TASK, optimizer, 5, probes=probes, num_runs=2)
    keys = training.run_keys(KEY, 4)
    traces = len(TRACES)
    first, second = compiled(keys[:2]), compiled(keys[2:])
    assert len(TRACES) == traces
    assert first.measured_steps == whole.measured_steps
    pieces = [(part.losses, part.params, part.state, part.records) for part in (first, second)]
    close(
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces),
        (whole.losses, whole.params, whole.state, whole.records),
    )


@pytest.mark.parametrize("name", ["adam", "lstm"])
def test_new_values_do_not_recompile(name):
    probes = {"norms": training.Norms(every=2)}
    first = optimizers.get(name)
    losses = [train(TASK, first, 4, key=KEY, probes=probes).losses]
    traces = len(TRACES)
    assert traces > 0
    for optimizer, key, scale in (
        (jax.tree.map(lambda leaf: 0.9 * leaf, first), KEY, 1.0),
        (first, jax.random.key(99), 1.0),
        (first, KEY, 2.0),
    ):
        task = Noisy(jnp.asarray(scale))
        losses.append(train(task, optimizer, 4, key=key, probes=probes).losses)
    assert len(TRACES) == traces
    assert len({digest(loss) for loss in losses}) == 4


@pytest.mark.parametrize("optimizer", [optimizers.sgd(1e6), optimizers.momentum(1e6)])
def test_divergence_is_in_the_losses_and_not_an_exception(optimizer):
    trajectory = train(tasks.get("quadratic"), optimizer, 30, key=KEY, num_runs=2)
    assert np.isfinite(trajectory.losses[:, 0]).all()
    assert not np.isfinite(trajectory.losses[:, -1]).any()


@pytest.mark.parametrize(
    ("argument", "value"),
    [("num_steps", 0), ("num_steps", -5), ("num_runs", 0), ("chunk_size", 0)],
)
def test_wrong_numbers(argument, value):
    arguments = {"num_steps": 3} | {argument: value}
    message = f"{argument} is {value}; it must be at least 1"
    with pytest.raises(InvalidValueError, match=message):
        train(TASK, optimizers.sgd(), key=KEY, **arguments)
    with pytest.raises(InvalidValueError, match=message):
        training.compile_train(TASK, optimizers.sgd(), **arguments)


def test_run_keys_are_distinct_and_their_parts_too():
    keys = training.run_keys(KEY, 50)
    parts = jax.vmap(lambda key: jnp.stack(split_run_key(key)))(keys)
    raw = jax.random.key_data(parts).reshape(150, -1)
    assert len(np.unique(raw, axis=0)) == 150


def test_inner_bytes_counts_parameters_state_and_step():
    # Three parameters, Adam's two moments of each and its count, the step.
    assert inner_bytes(TASK, optimizers.adam()) == 4 * (3 + 6 + 1 + 1)
    inner = training.initial_state(TASK, optimizers.adam(), KEY)
    assert inner_bytes(TASK, optimizers.adam()) == num_bytes(inner)
