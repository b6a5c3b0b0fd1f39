import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.optimizers import MLPOptimizer, StarOptimizer
from support import literal_star
from support.registered import with_few_units

SHAPES = {
    "scalar": (),
    "vector": (5,),
    "long vector": (11,),
    "wide": (4, 7),
    "tall": (7, 4),
    "square": (5, 5),
    "square, folded": (8, 8),
    "kernel": (3, 3, 4, 8),
    "kernel, shrinking": (2, 2, 6, 3),
    "kernel, ties": (3, 3, 5, 5),
    "one row": (1, 6),
}
FEW = ("tall",)
OPTIONS = [
    {},
    {"learned_nominal_scale": True},
    {"arm": "hyperparam"},
    {"arm": "blackbox"},
    {"preconditioning": False},
    {"nominal": "none"},
    {"nominal": "sgd"},
    {"nominal": "momentum"},
    {"nominal": "aggmo"},
    {"nominal": "adam"},
    {"arm": "hyperparam", "nominal": "adam", "learned_nominal_scale": True},
    {
        "nominal_scale": 0.02,
        "nominal_exponent_scale": 0.03,
        "blackbox_scale": 0.05,
        "blackbox_exponent_scale": 0.5,
    },
]


def trained(optimizer, seed=0):
    """Meta-parameters moved well away from their start: biases, decays, scale and weights."""
    leaves, structure = jax.tree.flatten(optimizer)
    generator = np.random.default_rng(seed)
    moved = []
    for leaf in leaves:
        scale = 0.5 if leaf.ndim == 2 or leaf.shape in ((2,), (4,)) else 0.05
        moved.append(leaf + jnp.asarray(scale * generator.standard_normal(leaf.shape), leaf.dtype))
    return jax.tree.unflatten(structure, moved)


def literal_rule(options, log_scale):
    arm = options.get("arm", "star")
    nominal = options.get("nominal") or ("none" if arm == "blackbox" else "aggmo-adam")
    preconditioning = options.get("preconditioning", arm == "star")
    beta = {
        index: options.get(name, 1e-3)
        for index, name in (
            (1, "nominal_scale"),
            (2, "nominal_exponent_scale"),
            (3, "blackbox_scale"),
            (4, "blackbox_exponent_scale"),
        )
    }
    beta[1] *= np.exp(log_scale)

    def rule(heads, g, m, root):
        change, heads = np.zeros_like(g), list(heads)
        if arm != "hyperparam":
            d, a = heads.pop(0), heads.pop(0)
            change -= beta[3] * d * np.exp(beta[4] * a) * (root if preconditioning else 1)
        if nominal != "none":
            n = heads.pop(0)
            mean = (m[0] + m[1] + m[2]) / 3
            term = {
                "sgd": g,
                "momentum": m[0],
                "aggmo": mean,
                "adam": m[0] * root,
                "aggmo-adam": mean * root,
            }
            change -= beta[1] * np.exp(beta[2] * n) * term[nominal]
        assert not heads
        return change

    return rule


def trajectory(shape, num_steps=4):
    """Gradients over many sizes, some exactly zero, and a parameter."""
    generator = np.random.default_rng(len(shape))
    sizes = 10.0 ** generator.uniform(-3, 1, shape)
    grads = [np.asarray(sizes * generator.standard_normal(shape)) for _ in range(num_steps)]
    for g in grads[:2]:
        g.flat[0] = 0.0
    return grads, generator.standard_normal(shape)


@eqx.filter_jit
def step(optimizer, grads, state, params):
    return optimizer.update(grads, state, params)


def compare(optimizer, rule, tolerance, dtype, names=FEW):
    """Several steps, all shapes in one tree, both sides following their own trajectory."""
    shapes = {name: SHAPES[name] for name in names}
    runs = {name: trajectory(shape) for name, shape in shapes.items()}
    params = {name: jnp.asarray(p, dtype) for name, (_, p) in runs.items()}
    literal = {name: np.asarray(value, np.float64) for name, value in params.items()}
    states = {name: literal_star.empty_state(shape) for name, shape in shapes.items()}
    state = optimizer.init(params)
    for t in range(4):
        grads = {name: jnp.asarray(g[t], dtype) for name, (g, _) in runs.items()}
        updates, state = step(optimizer, grads, state, params)
        for name in shapes:
            expected = literal_star.step(
                optimizer.network, states[name], np.asarray(grads[name]), literal[name], rule
            )
            np.testing.assert_allclose(
                updates[name],
                expected,
                rtol=tolerance,
                atol=tolerance * np.max(np.abs(expected)),
                err_msg=f"{name}, step {t}",
            )
            literal[name] = literal[name] + expected
        params = jax.tree.map(jnp.add, params, updates)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_against_the_literal_implementation_in_double_precision(options):
    with jax.enable_x64(True):
        optimizer = trained(StarOptimizer.create(jax.random.key(0), **options))
        optimizer = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), optimizer)
        log_scale = optimizer.log_nominal_scale
        rule = literal_rule(options, 0.0 if log_scale is None else float(log_scale))
        compare(optimizer, rule, 1e-10, jnp.float64, FEW if options else SHAPES)


def test_against_the_literal_implementation_in_single_precision():
    optimizer = trained(StarOptimizer.create(jax.random.key(0)), seed=1)
    names = ("scalar", "vector", "square", "tall", "kernel")
    compare(optimizer, literal_rule({}, 0.0), 1e-5, jnp.float32, names)


def test_untrained_too():
    optimizer = StarOptimizer.create(jax.random.key(3))
    compare(optimizer, literal_rule({}, 0.0), 1e-5, jnp.float32)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 202),
        ({"learned_nominal_scale": True}, 203),
        ({"arm": "blackbox"}, 197),
        ({"nominal": "none"}, 197),
        ({"arm": "hyperparam"}, 192),
    ],
)
def test_the_number_of_meta_parameters(options, count):
    assert size(StarOptimizer.create(jax.random.key(0), **options)) == count


def test_the_black_box_arm_is_the_mlp_optimizer():
    star = StarOptimizer.create(jax.random.key(5), arm="blackbox")
    mlp = MLPOptimizer.create(jax.random.key(5))
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(2)}
    for optimizer in (star, mlp):
        assert eqx.tree_equal(optimizer.network, mlp.network)
    one, _ = step(star, params, star.init(params), params)
    other, _ = step(mlp, params, mlp.init(params), params)
    assert eqx.tree_equal(one, other)


def test_weights_start_as_a_truncated_normal_without_variance_correction():
    keys = jax.random.split(jax.random.key(0), 200)
    network = jax.vmap(StarOptimizer.create)(keys).network
    for weights, fan_in in (
        (network.input_weights, 39),
        (network.hidden_weights, 4),
        (network.output_weights, 4),
    ):
        scaled = np.ravel(weights) * fan_in**0.5
        assert np.abs(scaled).max() <= 2
        # The standard deviation of a normal truncated at two of its own is 0.8796.
        error = 4 / np.sqrt(2 * scaled.size)
        assert abs(scaled.std() - 0.8796) < error
        assert abs(scaled.mean()) < 4 / np.sqrt(scaled.size)
    for bias in (network.input_bias, network.hidden_bias, network.output_bias):
        assert not np.any(bias)


def narrow(key):
    """Of two units, since derivatives take long to compile: all is in them that is in four."""
    return with_few_units(StarOptimizer.create(jax.random.key(key), learned_nominal_scale=True))


def test_meta_gradients_are_finite_for_gradients_of_every_size():
    optimizer = narrow(0)
    params = [jnp.ones(()), jnp.ones((4, 3))]

    @eqx.filter_jit
    @eqx.filter_grad
    def meta_gradient(optimizer, size):
        def step(carry, _):
            params, state = carry
            grads = jax.tree.map(lambda leaf: size * jnp.ones_like(leaf), params)
            updates, state = optimizer.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        (last, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=2)
        return sum(jnp.sum(leaf) for leaf in last)

    for size_of_gradient in (0.0, 1e-20, 1.0, 1e20):
        leaves = jax.tree.leaves(meta_gradient(optimizer, jnp.asarray(size_of_gradient)))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert any(np.any(leaf) for leaf in leaves)


def test_meta_gradients_match_finite_differences():
    with jax.enable_x64(True):
        optimizer = trained(narrow(2))
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), optimizer))
        runs = {name: trajectory(SHAPES[name], 3) for name in ("vector", "square, folded")}
        first = {name: jnp.asarray(p) for name, (_, p) in runs.items()}
        grads = {name: jnp.asarray(np.stack(g)) for name, (g, _) in runs.items()}

        @jax.jit
        @jax.value_and_grad
        def loss(vector):
            optimizer = unravel(vector)

            def step(carry, drawn):
                params, state = carry
                # The gradient depends on where one is, so that the chain through p counts.
                here = jax.tree.map(jnp.add, drawn, params)
                updates, state = optimizer.update(here, state, params)
                return (jax.tree.map(jnp.add, params, updates), state), None

            (last, _), _ = jax.lax.scan(step, (first, optimizer.init(first)), grads)
            return 1e3 * sum(jnp.sum(jnp.sin(leaf)) for leaf in last.values())

        gradient = loss(flat)[1]
        generator = np.random.default_rng(0)
        for _ in range(5):
            direction, h = jnp.asarray(generator.standard_normal(flat.size)), 1e-7
            ahead, behind = (loss(flat + sign * h * direction)[0] for sign in (1, -1))
            difference = (ahead - behind) / (2 * h)
            np.testing.assert_allclose(gradient @ direction, difference, rtol=1e-5, atol=1e-6)
            assert abs(float(difference)) > 1e-4


def test_particles_with_their_own_meta_parameters_side_by_side():
    optimizer = StarOptimizer.create(jax.random.key(0))
    noise = [
        jax.tree.map(
            lambda leaf, s=seed: 0.01 * jax.random.normal(jax.random.key(s), leaf.shape), optimizer
        )
        for seed in range(3)
    ]
    particles = [jax.tree.map(jnp.add, optimizer, n) for n in noise]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *particles)
    params = {"w": jax.random.normal(jax.random.key(1), (3, 8, 5)), "b": jnp.ones((3, 6))}

    def run(optimizer, params):
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(jax.tree.map(jnp.sin, params), state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return params, state

    together = eqx.filter_jit(eqx.filter_vmap(run))(stacked, params)
    run_alone = eqx.filter_jit(run)
    for index, particle in enumerate(particles):
        alone = run_alone(particle, jax.tree.map(lambda leaf, i=index: leaf[i], params))
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[index], other, rtol=1e-5, atol=1e-6)


def test_the_features_are_never_written_out():
    optimizer = StarOptimizer.create(jax.random.key(0))
    shape = (96, 104)
    params = jnp.ones(shape)

    def one(optimizer, grads, state, params):
        return optimizer.update(grads, state, params)

    compiled = (
        jax.jit(one).lower(optimizer, params, optimizer.init_packed(params), params).compile()
    )
    memory = compiled.memory_analysis()
    assert memory is not None
    # Sixteen features a quarter of the size each; the array of all inputs would be 39 sizes.
    assert memory.temp_size_in_bytes < 8 * params.nbytes


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_saved_and_loaded(options, tmp_path):
    optimizer = trained(StarOptimizer.create(jax.random.key(0), **options))
    optimizers.save(tmp_path, optimizer)
    assert eqx.tree_equal(optimizers.load(tmp_path), optimizer)


def test_options_that_cannot_be():
    create = functools.partial(StarOptimizer.create, jax.random.key(0))
    with pytest.raises(UnknownNameError, match=r"unknown arm 'start'\. Did you mean 'star'"):
        create(arm="start")
    with pytest.raises(UnknownNameError, match="unknown nominal term 'adams'"):
        create(nominal="adams")
    with pytest.raises(InvalidValueError, match="has no nominal term, but nominal is 'sgd'"):
        create(arm="blackbox", nominal="sgd")
    with pytest.raises(InvalidValueError, match="no black box to precondition"):
        create(arm="hyperparam", nominal="none")
    with pytest.raises(InvalidValueError, match="no black box to precondition"):
        create(arm="hyperparam", preconditioning=True)
    with pytest.raises(InvalidValueError, match="there is no nominal term"):
        create(nominal="none", learned_nominal_scale=True)
    with pytest.raises(InvalidValueError, match="nominal_scale is 0; it must be above 0"):
        create(nominal_scale=0)
    with pytest.raises(InvalidValueError, match="blackbox_exponent_scale is -1"):
        create(blackbox_exponent_scale=-1)


def test_parameters_are_needed():
    optimizer = StarOptimizer.create(jax.random.key(0))
    with pytest.raises(InvalidValueError, match=r"write update\(grads, state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
