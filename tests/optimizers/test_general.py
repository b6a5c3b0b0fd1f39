"""The general family: Celo2 as a setting, and second, naive implementations of its directions."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.optimizers import Celo2Optimizer, GeneralOptimizer

KEY = jax.random.key(0)
# The matrices as they are, with a network of few units, each of which takes as long to compile.
CORRECTED = {"refresh_every": None, "hidden_size": 2}
ORTHOGONALIZED = {**CORRECTED, "orthogonalize": True}
PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.zeros(3), "kernel": jnp.ones((2, 2, 3, 5))}


def gradients(step, params=PARAMS):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(KEY, step), len(leaves))
    drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@eqx.filter_jit
def next_update(optimizer, grads, state, params):
    return optimizer.update(grads, state, params)


def trajectory(optimizer, params=PARAMS, steps=5):
    state, seen = optimizer.init_packed(params), []
    for step in range(steps):
        updates, state = next_update(optimizer, gradients(step, params), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        seen.append(updates)
    return seen


@pytest.mark.parametrize("orthogonalize", [False, True])
def test_celo2_is_a_setting_of_it(orthogonalize):
    """A kernel apart: Celo2 takes its last two axes for matrices."""
    params = {name: PARAMS[name] for name in ("w", "b")}
    celo2 = Celo2Optimizer.create(
        KEY, learning_rate=0.01, orthogonalize=orthogonalize, hidden_size=2
    )
    general = GeneralOptimizer.create(
        KEY,
        learning_rate=0.01,
        nominal="none",
        orthogonalize=orthogonalize,
        vectors="adam" if orthogonalize else "network",
        vector_factor=20.0 if orthogonalize else 1.0,
        **CORRECTED,
    )
    network = eqx.tree_at(
        lambda n: (n.output_weights, n.output_bias),
        celo2.network,
        (celo2.network.output_weights[:, :1], celo2.network.output_bias[:1]),
    )
    general = eqx.tree_at(lambda o: o.network, general, network)
    for ours, theirs in zip(trajectory(general, params), trajectory(celo2, params), strict=True):
        for name in params:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("packed", "options", "num_steps"),
    [
        (False, {"learned_schedule": True}, None),
        (True, {"learned_schedule": True}, 3),
        (False, {"learned_sizes": True}, 3),
        (True, {"learned_schedule": True, "learned_sizes": True}, None),
    ],
)
def test_updates_are_multiplied_by_learned_functions_of_step_and_shape(packed, options, num_steps):
    plain = GeneralOptimizer.create(KEY, learning_rate=0.01, **ORTHOGONALIZED)
    started = GeneralOptimizer.create(
        KEY, learning_rate=0.01, num_steps=num_steps, **ORTHOGONALIZED, **options
    )
    drawn = jax.random.normal(jax.random.key(1), (2, 3, 12)), jnp.asarray([0.5, -0.3, 0.2, 0.4])
    weights = [np.zeros((2, 3, 12)), np.zeros(4)]
    learned = started
    for place, name in enumerate(("schedule", "size_exponents")):
        if getattr(started, name) is not None:
            learned = eqx.tree_at(lambda o: getattr(o, name), learned, drawn[place])  # noqa: B023
            weights[place] = np.asarray(drawn[place], np.float64)
    made = [one.init_packed(PARAMS) if packed else one.init(PARAMS) for one in (plain, learned)]
    times = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5])
    sides = {"w": (4, 3), "b": (3, 1), "kernel": (2 * 2 * 3, 5)}
    update = eqx.filter_jit(lambda optimizer, *state: optimizer.update(*state))
    for step in range(2):
        outcomes = [
            update(one, gradients(step), state, PARAMS)
            for one, state in zip((plain, learned), made, strict=True)
        ]
        (bare, _), (scheduled, _) = outcomes
        made = [state for _, state in outcomes]
        for name, leaf in bare.items():
            time = step if num_steps is None else step * 1000 / num_steps
            seen = [1.0, *(np.tanh(time / times - 1) - np.tanh(-1))]
            logarithms = np.array([1.0, *np.log(sides[name]) / 10])
            factor = np.exp(logarithms @ weights[0][int(leaf.ndim < 2)] @ seen)
            factor *= 1 if num_steps is None else (max(num_steps, 100) / 1000) ** weights[1][3]
            powers = (np.array(sides[name]) / 32) ** weights[1][:2]
            factor *= powers.prod() if leaf.ndim > 1 else (sides[name][0] / 32) ** weights[1][2]
            factor *= 1 if num_steps is None else (1 + np.cos(np.pi * step / num_steps)) / 2
            np.testing.assert_allclose(scheduled[name], factor * leaf, rtol=1e-5)


def test_steps_of_matrices_grow_while_gradients_agree_with_the_step_before():
    """The direction, by the optimizer without it, times a factor that is written out here."""
    options = {"learning_rate": 0.01, "num_steps": 16, "refresh_every": 2}
    plain = GeneralOptimizer.create(KEY, **options)
    adaptive = GeneralOptimizer.create(KEY, adaptive_sizes=True, **options)
    drift = gradients(99)
    states, log_sizes, before = [plain.init(PARAMS), adaptive.init_packed(PARAMS)], {}, {}
    seen = []
    for step in range(8):
        # In the first steps a gradient is much like the one before, then the other way round.
        sign = 1.0 if step in (0, 1, 2, 4, 5) else -1.0
        grads = jax.tree.map(lambda n, d: 0.5 * n + sign * d, gradients(step), drift)  # noqa: B023
        (bare, states[0]), (sized, states[1]) = (
            next_update(one, grads, state, PARAMS)
            for one, state in zip((plain, adaptive), states, strict=True)
        )
        np.testing.assert_array_equal(sized["b"], bare["b"])
        for name in ("w", "kernel"):
            gradient, size = np.ravel(grads[name]).astype(np.float64), log_sizes.get(name, 0.0)
            if step in (1, 2, 3):
                norms = np.linalg.norm(gradient) * np.linalg.norm(before[name])
                size = np.clip(size - 100 / 100 * gradient @ before[name] / norms, 0, np.log(8))
            log_sizes[name], before[name] = size, np.ravel(bare[name]).astype(np.float64)
            factor = np.exp(size * np.sqrt(1 - step / 16))
            np.testing.assert_allclose(sized[name], factor * bare[name], rtol=1e-4)
        seen.append(log_sizes["w"])
    assert seen[0] == 0 < seen[1] < seen[2] > seen[3] == seen[-1]


def test_functions_of_time_count_in_thousandths_of_a_known_length(tmp_path):
    options = {"inputs": "small_fc", "vectors": "network", "num_steps": 3000}
    told = GeneralOptimizer.create(KEY, learning_rate=0.01, **ORTHOGONALIZED, **options)
    saved = optimizers.save(tmp_path, told)
    a_third, as_saved = optimizers.load(saved, num_steps=1000), optimizers.load(saved)
    state = told.init(PARAMS)
    update = eqx.filter_jit(lambda optimizer, state: optimizer.update(gradients(0), state, PARAMS))

    def at(optimizer, step):
        network = state.network._replace(step=jnp.asarray(step))
        return update(optimizer, state._replace(network=network))[0]

    late, sooner, same = at(told, 1500), at(a_third, 500), at(as_saved, 1500)
    for name in PARAMS:
        np.testing.assert_allclose(late[name], sooner[name], rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(late[name], same[name])
        assert np.max(np.abs(at(a_third, 1500)[name])) == 0
        assert np.max(np.abs(late[name] - at(a_third, 400)[name])) > 1e-5


def newton_schulz(matrix):
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (np.linalg.norm(x) + 1e-8)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def test_without_its_correction_it_is_nesterov_over_the_root_orthogonalized():
    optimizer = GeneralOptimizer.create(KEY, learning_rate=0.01, gain=1e-12, **ORTHOGONALIZED)
    momentum, second = {}, {}
    for step, updates in enumerate(trajectory(optimizer)):
        for name, gradient in gradients(step).items():
            gradient = np.asarray(gradient, np.float64)
            momentum[name] = 0.9 * momentum.get(name, 0) + 0.1 * gradient
            second[name] = 0.95 * second.get(name, 0) + 0.05 * gradient**2
            direction = (0.1 * gradient + 0.9 * momentum[name]) / np.sqrt(second[name] + 1e-8)
            if name == "b":
                continue
            matrix = newton_schulz(direction.reshape(-1, direction.shape[-1]))
            expected = -0.01 * matrix / np.sqrt(np.mean(matrix**2))
            np.testing.assert_allclose(
                updates[name], expected.reshape(direction.shape), rtol=2e-3, atol=1e-5
            )


def test_vectors_get_adam_at_a_multiple_of_the_rate():
    optimizer = GeneralOptimizer.create(KEY, learning_rate=0.01, vector_factor=7.0)
    adam = optimizers.adam(0.07)
    ours = trajectory(optimizer, {"b": PARAMS["b"]})
    theirs = trajectory(adam, {"b": PARAMS["b"]})
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one["b"], other["b"], rtol=1e-4)


@pytest.mark.parametrize("inputs", ["celo2", "small_fc"])
def test_matrices_move_by_the_rate_whatever_the_scale_of_the_loss(inputs):
    optimizer = GeneralOptimizer.create(KEY, learning_rate=0.02, inputs=inputs, **ORTHOGONALIZED)
    update = jax.jit(lambda grads: optimizer.update(grads, optimizer.init(PARAMS), PARAMS)[0])
    for scale in (1e-3, 1.0, 1e2):
        updates = update(jax.tree.map(lambda g: scale * g, gradients(0)))  # noqa: B023
        for name in ("w", "kernel"):
            assert float(jnp.sqrt(jnp.mean(updates[name] ** 2))) == pytest.approx(0.02, rel=1e-3)


def test_without_normalization_it_is_a_sum_of_two_terms():
    """The gain multiplies the network's part alone, and nothing else is done to it."""
    plain = {**CORRECTED, "normalize": False, "vectors": "nominal"}
    first, second, none = (
        GeneralOptimizer.create(KEY, nominal="momentum", gain=gain, **plain)
        for gain in (1.0, 2.0, 1e-20)
    )
    one, two, nominal = (trajectory(o, steps=1)[0] for o in (first, second, none))
    for name in PARAMS:
        np.testing.assert_allclose(
            two[name] - nominal[name], 2 * (one[name] - nominal[name]), rtol=1e-3, atol=1e-8
        )
        # The first momentum is a tenth of the gradient.
        np.testing.assert_allclose(nominal[name], -1e-4 * gradients(0)[name], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"inputs": "velo"}, UnknownNameError, "inputs"),
        ({"nominal": "adan"}, UnknownNameError, "nominal"),
        ({"vectors": "lion"}, UnknownNameError, "vectors"),
        ({"nominal": "none", "vectors": "nominal"}, InvalidValueError, "no nominal direction"),
        ({"gain": 0.0}, InvalidValueError, "positive"),
        ({"learning_rate": -1.0}, InvalidValueError, "learning_rate"),
        ({"adaptive_sizes": True}, InvalidValueError, "needs num_steps"),
    ],
)
def test_bad_settings_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        GeneralOptimizer.create(KEY, **options)


@pytest.mark.parametrize("name", ["general", "celo2"])
def test_a_lone_vector_is_adams(name):
    """Nothing is left for the network then."""
    options = {
        "general": {"vectors": "adam", "vector_factor": 20.0},
        "celo2": {"orthogonalize": True},
    }[name]
    optimizer = optimizers.get(name, learning_rate=0.01, **options)
    state = optimizer.init(jnp.ones(3))
    after = jax.eval_shape(optimizer.update, jnp.ones(3), state, jnp.ones(3))[1]
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for one, other in zip(
        trajectory(optimizer, jnp.ones(3)),
        trajectory(optimizers.adam(0.2), jnp.ones(3)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_by_default_it_is_soap_of_unit_size():
    """Written out in double precision, with the momentum kept in the tensor's own axes."""
    optimizer = GeneralOptimizer.create(KEY, learning_rate=0.01, refresh_every=2)
    left, right, q, p = np.zeros((4, 4)), np.zeros((3, 3)), np.eye(4), np.eye(3)
    momentum = second = 0
    for step, updates in enumerate(trajectory(optimizer)):
        gradient = np.asarray(gradients(step)["w"], np.float64)
        left = 0.95 * left + 0.05 * gradient @ gradient.T
        right = 0.95 * right + 0.05 * gradient.T @ gradient
        if step % 2 == 0:
            q, p = np.linalg.qr(left @ q)[0], np.linalg.qr(right @ p)[0]
        seen = q.T @ gradient @ p
        seen[np.abs(seen) < 1e-5 * np.sqrt(np.mean(seen**2))] = 0
        momentum = 0.9 * momentum + 0.1 * q @ seen @ p.T
        second = 0.95 * second + 0.05 * seen**2
        direction = (0.1 * seen + 0.9 * q.T @ momentum @ p) / np.sqrt(second + 1e-16)
        direction = q @ direction @ p.T
        expected = -0.01 * direction / np.sqrt(np.mean(direction**2))
        np.testing.assert_allclose(updates["w"], expected, rtol=2e-3, atol=1e-5)


def test_in_eigenbases_a_kernel_is_a_matrix_and_a_stack_is_its_matrices():
    optimizer = GeneralOptimizer.create(KEY, learning_rate=0.01, refresh_every=2)
    tensors = {"kernel": PARAMS["kernel"], "stack": jnp.ones((2, 4, 3))}
    whole = trajectory(optimizer, tensors, 3)

    def parts(tree):
        stack = tree["stack"]
        return {"kernel": tree["kernel"].reshape(12, 5), "first": stack[0], "second": stack[1]}

    params, state = parts(tensors), optimizer.init(parts(tensors))
    update = jax.jit(optimizer.update)
    for step, expected in enumerate(whole):
        updates, state = update(parts(gradients(step, tensors)), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name, leaf in parts(expected).items():
            np.testing.assert_allclose(updates[name], leaf, rtol=1e-3, atol=1e-6)


def test_a_long_side_keeps_its_own_axes(monkeypatch):
    monkeypatch.setattr("optoscope.optimizers._eigenbases.LONGEST_SIDE", 4)
    optimizer = GeneralOptimizer.create(KEY, refresh_every=1)
    state = optimizer.init(PARAMS)
    kernel, matrix = state.bases
    assert kernel == (None, None)
    assert matrix.rows is not None

    @jax.jit
    @jax.vmap
    def run(key):
        draw = lambda leaf: jax.random.normal(key, leaf.shape)  # noqa: E731
        update, _ = optimizer.update(jax.tree.map(draw, PARAMS), state, PARAMS)
        return update

    sizes = jax.tree.map(
        lambda leaf: float(jnp.sqrt(jnp.mean(leaf**2))), run(jax.random.split(KEY))
    )
    np.testing.assert_allclose([sizes["w"], sizes["kernel"]], 1e-3, rtol=1e-4)


def test_without_a_direction_of_any_kind_there_is_none():
    with pytest.raises(InvalidValueError, match="neither a nominal direction nor a network"):
        GeneralOptimizer.create(KEY, nominal="none")


def test_a_file_from_before_eigenbases_has_none(tmp_path):
    optimizers.save(tmp_path, GeneralOptimizer.create(KEY, **ORTHOGONALIZED))
    description = json.loads((tmp_path / "optimizer.json").read_text())
    del description["configuration"]["refresh_every"]
    (tmp_path / "optimizer.json").write_text(json.dumps(description))
    assert optimizers.load(tmp_path).refresh_every is None
