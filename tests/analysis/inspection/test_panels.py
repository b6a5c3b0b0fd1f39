"""Every panel on optimizers whose answers are known."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError
from optoscope._core.findings import Findings
from optoscope.analysis import inspection
from optoscope.analysis.inspection import PANELS
from optoscope.analysis.symmetry import Discovery, _declared_or_found

KEY = jax.random.key(0)
NUM_STEPS = 24
MEMBERS = {
    "sgd": optimizers.sgd(0.1),
    "sign": optax.sign_sgd(0.01),
    "adam": optimizers.adam(0.01),
    "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
    "halving": optax.sgd(optax.exponential_decay(0.1, 12, 0.5, staircase=True)),
    "muon": optimizers.muon(0.01),
}


@pytest.fixture(scope="module")
def task():
    return tasks.get("digits-mlp-sigmoid", batch_size=16)


@pytest.fixture(scope="module")
def looked(task):
    return inspection.Inspection(task, MEMBERS, NUM_STEPS, KEY, num_runs=2, points=4)


@pytest.fixture(scope="module")
def recording(looked):
    return looked.recording


def test_geometry(recording):
    found = inspection.update_geometry(recording)
    everything = {"layer": "all parameters"}
    for name in ("sgd", "clipped", "halving"):
        cosine = found.at("cosine", compared="−gradient", optimizer=name, **everything)
        np.testing.assert_allclose(cosine, 1, atol=1e-6)
        share = found.at("share", explanation="gradient", optimizer=name)
        np.testing.assert_allclose(share, 1, atol=1e-6)
    signs = found.at("share", explanation="sign of the gradient", optimizer="sign")
    np.testing.assert_allclose(signs, 1, atol=1e-6)
    # Less than 0.01, for the gradient of pixels that are always dark is zero, and so is its sign.
    moved = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(recording.updates[1]["sign"])])
    size = found.at("size", optimizer="sign", step=recording.steps[1])[0]
    np.testing.assert_allclose(size, 0.01 * np.sqrt(np.mean(moved != 0)), rtol=0.01)
    adam = found.at("cosine", compared="Adam (0.9, 0.999)", optimizer="adam")
    np.testing.assert_allclose(adam, 1, atol=1e-5)
    shares = found.arrays["share"].values
    assert (shares[-1] >= np.nanmax(shares[:-1], axis=0) - 1e-9).all()
    assert (shares <= 1).all()
    # Muon makes singular values nearly equal, and a gradient's are not.
    rank = found.arrays["effective_rank"].values
    rows = found.axes["direction"].values.tolist()
    assert (rank[rows.index("muon")] > rank[rows.index("gradient")] + 0.1).all()
    histogram = found.at("histogram", optimizer="sign", step=0)
    assert np.count_nonzero(histogram) == 1
    assert "sgd: 100% of its update is along gradient." in found.sentences


def test_singular_values_are_those_of_the_update(recording):
    found = inspection.update_geometry(recording)
    names = found.axes["matrix"].values.tolist()
    updates = [leaf for leaf in jax.tree.leaves(recording.updates[1]["adam"]) if leaf.ndim == 3]
    values = np.linalg.svd(np.asarray(updates[0][0], np.float64), compute_uv=False)
    spectrum = found.at("spectrum", direction="adam", matrix=names[0], step=recording.steps[1])
    np.testing.assert_allclose(spectrum[: len(values)], values / values[0], rtol=1e-4)


def test_conditional_updates_change_one_coordinate_alone(task, recording):
    """Against calling the optimizer once for each gradient."""
    met, optimizer = recording.of_run("clipped", 2), MEMBERS["clipped"]
    flat, unravel = jax.flatten_util.ravel_pytree(met.grads)
    asked, gradients = np.array([3, 700]), np.array([0.5, -2.0])
    found = inspection.conditional_updates(task, optimizer, met, asked, gradients)

    @jax.jit
    def one_update(place, gradient):
        changed = unravel(flat.at[place].set(gradient))
        updates = optimizer.update(changed, met.state, met.params)[0]
        return jax.flatten_util.ravel_pytree(updates)[0][place]

    for place, gradient, update in zip(asked, gradients, found, strict=True):
        np.testing.assert_allclose(update, one_update(place, gradient), rtol=1e-5)


def test_update_functions_and_the_influence_of_others(recording):
    found = inspection.update_functions(recording, key=KEY)
    grid = found.axes["gradient"].values
    # In units of both sizes, gradient descent is the line through the origin of slope −1.
    line = found.at("update", optimizer="sgd")
    np.testing.assert_allclose(line, np.broadcast_to(-grid, line.shape), rtol=1e-4, atol=1e-6)
    signs = found.at("update", optimizer="sign")
    size = np.abs(signs).max(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        signs / size, np.broadcast_to(-np.sign(grid), signs.shape), atol=1e-4
    )
    assert (size >= 1).all()
    for name in ("sgd", "adam", "halving"):
        assert found.at("influence", optimizer=name).max() < 1e-6
    for name in ("clipped", "muon"):
        assert np.median(found.at("influence", optimizer=name)) > 0.01
    said = dict(zip(recording.names, found.sentences, strict=True))
    assert "by itself" in said["adam"]
    assert "other coordinates" in said["muon"]


def test_learning_rates_and_schedules(recording):
    found = inspection.learning_rates(recording)
    np.testing.assert_allclose(found.at("rate", optimizer="sgd"), 0.1, rtol=1e-4)
    np.testing.assert_allclose(found.at("along", optimizer="sgd"), 0.1, rtol=1e-4)
    steps = found.axes["time"].values
    halves = found.at("time", optimizer="halving")
    np.testing.assert_allclose(halves, 0.5 ** (steps // 12), rtol=1e-5)
    np.testing.assert_allclose(found.at("time", optimizer="adam"), 1, rtol=1e-3)
    # The answer to the gradients is the same with the schedule and without it.
    np.testing.assert_allclose(
        found.at("gradients", optimizer="halving"), found.at("gradients", optimizer="sgd"),
        rtol=1e-4,
    )  # fmt: skip
    said = dict(zip(recording.names, found.sentences, strict=True))
    assert "no schedule" in said["sgd"]
    assert "ends at 50%" in said["halving"]
    filling = inspection.record(
        _Bowl(), {"momentum": optimizers.momentum(0.1, 0.9)}, 150, key=KEY, num_runs=1, points=1
    )
    # 1 − 0.9ⁿ⁺¹ comes to 99% at n = 43, and to all of it by rounding alone.
    assert (
        "from 10% at the first step to its full size at step 43"
        in (inspection.learning_rates(filling).sentences[0])
    )


def test_only_faithful_coordinate_maps_are_given(recording):
    view = inspection.coordinate_view(recording, "adam", 3)
    assert view.error < 1e-3
    assert view.states.shape[1] == view.coordinates.size == 2
    for name in ("clipped", "muon"):
        with pytest.raises(InvalidValueError, match=f"{name} (is not a function|has no coord)"):
            inspection.coordinate_view(recording, name, 3)


def test_dynamics(recording):
    found = inspection.coordinate_dynamics(recording)
    assert round(float(found.at("timescale", optimizer="adam", mode=1)), 6) == 0.9
    settled = found.at("settled", optimizer="adam")
    grid = found.axes["gradient"].values
    large = np.abs(grid) > 0.05
    np.testing.assert_allclose(settled[large], -0.01 * np.sign(grid[large]), rtol=0.05)
    unit = float(np.sqrt(np.mean(np.square(
        inspection.coordinate_view(recording, "sgd", 3).gradients))))  # fmt: skip
    np.testing.assert_allclose(found.at("settled", optimizer="sgd"), -0.1 * grid * unit, rtol=1e-6)
    assert np.isnan(found.at("settled", optimizer="muon")).all()


@pytest.mark.parametrize("size", [3, 40])
def test_the_largest_eigenvalue(size):
    matrix = np.random.default_rng(size).normal(size=(size, size))
    matrix = matrix + matrix.T
    start = jnp.ones(size).at[0].set(2.0)
    found = inspection.largest_eigenvalue(lambda v: jnp.asarray(matrix) @ v, start, min(size, 25))
    values = np.linalg.eigvalsh(matrix)
    assert np.min(np.abs(values - float(found[0]))) <= float(found[1]) + 1e-4
    np.testing.assert_allclose(float(found[0]), values[-1], rtol=1e-3)


@pytest.mark.parametrize("diagonal", [[-3.0, -1.0, -2.0], [4.0, 4.0, 4.0], [0.0, 0.0, 5.0]])
def test_lanczos_where_the_space_is_exhausted(diagonal):
    matrix = jnp.diag(jnp.array(diagonal))
    value, _ = inspection.largest_eigenvalue(lambda v: matrix @ v, jnp.array([1.0, 2.0, 3.0]), 3)
    np.testing.assert_allclose(float(value), max(diagonal), rtol=1e-4, atol=1e-5)


class _Bowl(tasks.Task):
    """½ Σ λφ²; the largest curvature is known, and SGD's stable edge as well."""

    def init(self, key):
        return jax.random.normal(key, (3,))

    def sample_batch(self, key):
        return 1.0 + 0.0 * jax.random.normal(key, ())

    def loss(self, params, batch):
        return 0.5 * batch * jnp.sum(jnp.array([1.0, 2.0, 8.0]) * jnp.square(params))


def test_curvature_beside_the_edge():
    members = {
        "slow": optimizers.sgd(0.2),
        "fast": optimizers.sgd(0.3),
        "clipped": MEMBERS["clipped"],
    }
    looked = inspection.Inspection(_Bowl(), members, 6, KEY, num_runs=2, points=2)
    found = inspection.curvature_beside_edge(looked.own, key=KEY)
    np.testing.assert_allclose(found.arrays["curvature"].values, 8, rtol=1e-4)
    np.testing.assert_allclose(found.at("edge", optimizer="slow"), 10, rtol=1e-5)
    np.testing.assert_allclose(found.at("edge", optimizer="fast"), 2 / 0.3, rtol=1e-5)
    assert "inside its stable range" in found.sentences[0]
    assert "beyond its stable range" in found.sentences[1]
    assert (
        "In its place are the largest curvature along its run, which ends at 8 ("
        in (found.sentences[2])
    )


def test_what_is_no_map_of_one_coordinate_has_no_stable_edge(recording):
    """Muon looks at whole matrices, clipping at the global norm."""
    for name in ("muon", "clipped"):
        edges = [inspection.stable_edge(recording, name, point) for point in range(4)]
        assert not any(edge.has_map for edge in edges)
        assert np.isnan([edge.value for edge in edges]).all()
    sign = inspection.stable_edge(recording, "sign", 3)
    assert sign.has_map
    assert "a sign, perhaps" in sign.reason


class _Difference(optimizers.OptimizerModule):
    """Moves by the difference of two numbers of size 1: it is small, and rounded."""

    def init(self, params):
        ones = jax.tree.map(jnp.ones_like, params)
        return {"first": ones, "second": ones}

    def update(self, grads, state, params=None, **extra):
        first = jax.tree.map(lambda g, s: s * (1 - 3e-7 * jnp.tanh(g)), grads, state["first"])
        state = {"first": first, "second": state["second"]}
        return jax.tree.map(jnp.subtract, first, state["second"]), state


def test_a_map_is_not_refused_for_what_rounding_does():
    members = {"small": _Difference()}
    recording = inspection.record(_Bowl(), members, 1, key=KEY, num_runs=1, points=1)
    view = inspection.coordinate_view(recording, "small", 0)
    # Single precision holds numbers near 1 to some 6e-8, and the updates are three times that.
    assert view.error > 0.02


class _Still(optimizers.OptimizerModule):
    """Moves arrays after its first step alone, and a lone number at once, as SOAP does."""

    def init(self, params):
        return jnp.zeros((), jnp.int32)

    def update(self, grads, state, params=None, **extra):
        moves = jax.tree.map(lambda g: jnp.where((state == 0) & (g.ndim > 0), 0.0, -g), grads)
        return moves, state + 1


def test_no_map_is_given_for_a_step_at_which_the_optimizer_stands_still():
    recording = inspection.record(_Bowl(), {"still": _Still()}, 1, key=KEY, num_runs=1, points=1)
    with pytest.raises(InvalidValueError, match="moves no parameter at step 0"):
        inspection.coordinate_view(recording, "still", 0)


def test_longer_runs_say_what_lasts():
    members = {"lasts": optimizers.sgd(0.2), "diverges": optimizers.sgd(10.0)}
    found = inspection.longer_runs(_Bowl(), members, 100, key=KEY)
    assert "lasts lasts over 100 steps" in found.sentences[0]
    assert "finite numbers at step" in found.sentences[1]
    losses = found.at("long_loss", optimizer="lasts")
    assert losses[-1] < 1e-6 * losses[0]


def test_symmetry(recording):
    found = inspection.symmetry_deviations(recording)
    assert found.at("cosine", optimizer="sgd").max() < 1e-4
    assert found.at("cosine", optimizer="sign").min() > 1e-3
    level = found.arrays["isotropic"].values
    np.testing.assert_allclose(level, 1510**-0.5, rtol=1e-6)


def test_symmetries_that_nobody_declared_are_searched_for(looked, monkeypatch):
    task = looked.task
    own = tasks.from_functions(
        lambda key: task.init(key), lambda p, b: task.loss(p, b), lambda k: task.sample_batch(k)
    )
    declared = task.symmetries(looked.recording.records[0].params)
    found = Discovery(
        23, 1e9, {"dead_inputs": 2, "translation": 21}, 3, np.zeros((0, 1510)), (), "exact", True,
        "example", 4096, "data", 1510, {"translation": declared["translation"]},
    )  # fmt: skip
    monkeypatch.setattr(_declared_or_found, "discover", lambda _: found)
    undeclared = dataclasses.replace(looked, task=own)
    # The runs are those of the task that declares its symmetries.
    undeclared.__dict__["recording"] = looked.recording
    panel = PANELS["symmetry"].compute(undeclared)
    assert panel.sentences[0] == (
        "The task declares no symmetries; these were found from its losses, in directions: "
        "translation (21). 3 more have no name and are not looked at."
    )
    wanted = inspection.symmetry_deviations(looked.recording).at("cosine", symmetry="translation")
    np.testing.assert_array_equal(panel.at("cosine", symmetry="translation"), wanted)
    large = tasks.get("digits-mlp-sigmoid", hidden=(80,))
    unnamed = tasks.from_functions(
        lambda key: large.init(key), lambda p, b: large.loss(p, b), lambda k: large.sample_batch(k)
    )
    with pytest.raises(InvalidValueError, match="has 6,010 parameters"):
        PANELS["symmetry"].compute(dataclasses.replace(looked, task=unnamed))


def test_noise(task):
    members = {"sgd": optimizers.sgd(0.1), "adam": optimizers.adam(0.01)}
    recording = inspection.record(task, members, 4, key=KEY, num_runs=1, points=2)
    found = inspection.update_noise(recording, num_batches=20)
    # SGD's noise is the gradient's.
    for array in ("alpha", "null", "eigenvalues"):
        sgd, gradient = (found.at(array, noise_of=name) for name in ("sgd", "gradient"))
        np.testing.assert_allclose(sgd, gradient, rtol=0.02, atol=1e-4)
    assert (np.diff(found.arrays["eigenvalues"].values, axis=-1) <= 1e-12).all()


def test_costs(recording):
    found = inspection.costs(recording)
    memory = {name: float(found.at("memory", optimizer=name)) for name in recording.names}
    assert memory["sgd"] == 0
    assert round(memory["adam"], 2) == 8
    assert (found.arrays["time"].values > 0).all()


@pytest.mark.parametrize("name", list(PANELS))
def test_every_panel_on_a_task_without_symmetries_or_matrices(name):
    task, members = tasks.get("quadratic"), {"momentum": optimizers.momentum(0.05, 0.9)}
    panel = PANELS[name]
    found = inspection.inspect(
        task, members, 12, key=KEY, num_runs=2, points=3, panels={name: panel}
    )[name]
    assert isinstance(found, Findings)
    assert found.sentences
    assert all(sentence.strip().endswith((".", "`")) for sentence in found.sentences)
    json.dumps(found.as_json())
    assert min(map(len, (panel.title, panel.how_to_read, panel.does_not_show))) > 10
    if name == "symmetry":
        assert "declares no symmetries" in found.sentences[0]


def test_a_run_that_diverges_is_said_to_and_stops_no_panel():
    members = {"wild": optimizers.momentum(1e8, 0.9)}
    with np.errstate(all="ignore"):
        found = inspection.inspect(
            tasks.get("quadratic"), members, 40, key=KEY, num_runs=2, points=4
        )
    assert set(found) == set(PANELS)
    assert np.isnan(found["geometry"].at("share", layer="all parameters", step=39)).all()
    assert "finite numbers" in " ".join(found["stability"].sentences)
    for one in found.values():
        json.dumps(one.as_json())
