import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.trees import size
from optoscope.tasks import MLP
from optoscope.tasks._mlp import ACTIVATIONS, NORM_AXES

NAIVE_ACTIVATIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
}


def naive_norm(values, kind):
    """Paper A's normalization, one statistic at a time; `values` is (batch, units)."""
    values = np.array(values)
    result = np.zeros_like(values)
    for example, unit in itertools.product(*map(range, values.shape)):
        population = values[:, unit] if kind == "batch" else values[example]
        mean = sum(population) / len(population)
        variance = sum((x - mean) ** 2 for x in population) / len(population)
        result[example, unit] = (values[example, unit] - mean) / np.sqrt(variance + 1e-5)
    return result


def naive_mlp(params, inputs, activation, norm):
    hidden = np.asarray(inputs, np.float64)
    for layer in range(len(params)):
        entry = {
            name: np.asarray(leaf, np.float64) for name, leaf in params[f"layer_{layer}"].items()
        }
        rows = []
        for example in hidden:
            rows.append(
                [
                    sum(x * w for x, w in zip(example, column, strict=True)) + bias
                    for column, bias in zip(entry["weights"].T, entry["bias"], strict=True)
                ]
            )
        hidden = np.array(rows)
        if layer == len(params) - 1:
            return hidden
        if norm is not None:
            hidden = naive_norm(hidden, norm) * entry["scale"] + entry["shift"]
        hidden = np.vectorize(NAIVE_ACTIVATIONS[activation])(hidden)
    raise AssertionError


@pytest.mark.parametrize("norm", [None, *NORM_AXES])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_against_a_naive_implementation(activation, norm):
    network = MLP((4, 5, 3, 2), activation, norm)
    keys = iter(jax.random.split(jax.random.key(0), 100))
    # Random scales and shifts: at their initial ones and zeros a mix-up would not show.
    params = jax.tree.map(
        lambda x: jax.random.normal(next(keys), x.shape), network.init(next(keys))
    )
    inputs = jax.random.normal(next(keys), (6, 4))
    expected = naive_mlp(params, inputs, activation, norm)
    np.testing.assert_allclose(network(params, inputs), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("widths", "norm", "count"),
    [
        ((784, 20, 10), None, 15_910),
        ((784, 20, 10), "batch", 15_950),
        ((784, 20, 10), "layer", 15_950),
        ((784, 100, 100, 10), None, 89_610),
        ((784, 40, 10), None, 31_810),
        ((784, 20, 20, 10), None, 16_330),
        ((3, 2), "batch", 8),
        ((784, 128, 128, 10), None, 118_282),
    ],
)
def test_parameter_counts_of_the_papers(widths, norm, count):
    assert size(jax.eval_shape(MLP(widths, "sigmoid", norm).init, jax.random.key(0))) == count


def test_initial_parameters_are_uniform_within_one_over_root_fan_in():
    params = MLP((400, 100, 10)).init(jax.random.key(0))
    for layer, fan_in in (("layer_0", 400), ("layer_1", 100)):
        bound = fan_in**-0.5
        weights = np.asarray(params[layer]["weights"]).ravel()
        assert np.abs(weights).max() <= bound
        assert np.abs(params[layer]["bias"]).max() <= bound
        # A uniform variable on ±b has variance b²/3 and fourth moment b⁴/5.
        standard_error = bound**2 * np.sqrt((1 / 5 - 1 / 9) / weights.size)
        assert abs(np.mean(weights**2) - bound**2 / 3) < 4 * standard_error
        assert abs(np.mean(weights)) < 4 * bound / np.sqrt(3 * weights.size)


def test_the_uniform_start_is_the_default_and_has_not_changed():
    # As drawn before there was a choice: results recorded with it must stay reachable.
    layer = MLP((3, 2), "relu").init(jax.random.key(0))["layer_0"]
    np.testing.assert_allclose(layer["bias"], [-0.4569261, -0.1801476], rtol=1e-5)
    np.testing.assert_allclose(layer["weights"][0], [-0.2508934, 0.3326661], rtol=1e-5)


def test_a_truncated_normal_start_has_no_biases():
    params = MLP((400, 100, 10), initialization="truncated_normal").init(jax.random.key(0))
    for layer, fan_in in (("layer_0", 400), ("layer_1", 100)):
        weights = np.asarray(params[layer]["weights"], float) * fan_in**0.5
        # Two standard deviations of a normal hold a second moment of 0.7737.
        error = np.std(weights**2) / weights.size**0.5
        assert abs(np.mean(weights**2) - 0.7737) < 4 * error
        assert 1 < np.abs(weights).max() <= 2
        assert not params[layer]["bias"].any()


def test_layers_and_entries_are_drawn_independently():
    params = MLP((6, 6, 6, 6)).init(jax.random.key(0))
    drawn = [np.asarray(params[layer]["weights"]) for layer in params]
    drawn += [np.broadcast_to(params[layer]["bias"], (6, 6)) for layer in params]
    for one, other in itertools.combinations(drawn, 2):
        assert not np.isin(one, other).any()


def test_a_norm_starts_as_the_identity_and_the_last_layer_has_none():
    params = MLP((4, 3, 2), norm="layer").init(jax.random.key(0))
    assert params["layer_0"]["scale"].tolist() == [1.0] * 3
    assert params["layer_0"]["shift"].tolist() == [0.0] * 3
    assert set(params["layer_1"]) == {"weights", "bias"}


@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_batch_norm_is_invariant_to_scale_and_shift_of_the_units_before_it(factor):
    network = MLP((4, 5, 2), "tanh", "batch")
    params = network.init(jax.random.key(0))
    inputs = 10 * jax.random.normal(jax.random.key(1), (32, 4))
    before = network(params, inputs)
    params["layer_0"]["weights"] *= factor
    params["layer_0"]["bias"] += 3.0
    np.testing.assert_allclose(network(params, inputs), before, atol=2e-3)


def test_one_linear_layer_is_affine():
    network = MLP((2, 1))
    params = {"layer_0": {"weights": jnp.array([[2.0], [3.0]]), "bias": jnp.array([1.0])}}
    assert network(params, jnp.array([[10.0, 100.0]])).tolist() == [[321.0]]


@pytest.mark.parametrize("widths", [(), (3,), (3, 0), (3, -1, 2)])
def test_wrong_widths(widths):
    with pytest.raises(InvalidValueError, match="needs an input and an output, each 1 or more"):
        MLP(widths)


def test_unknown_names_suggest():
    with pytest.raises(UnknownNameError, match="Did you mean 'sigmoid'"):
        MLP((2, 1), "sigmoidal")
    with pytest.raises(UnknownNameError, match=r"unknown norm 'batchnorm'.*'batch'"):
        MLP((2, 1), "relu", "batchnorm")
    with pytest.raises(UnknownNameError, match="unknown initialization 'normal'"):
        MLP((2, 1), initialization="normal")
