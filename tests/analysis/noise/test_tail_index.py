"""The tail index: known laws, the traps of paper A, both published protocols."""

import jax
import numpy as np
import pytest

from optoscope import optimizers, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope.analysis.noise import alpha_against_group_size, noise_samples, tail_index
from optoscope.analysis.noise._silence import repetitions
from optoscope.analysis.noise._surrogate import gaussian_surrogate


def stable(generator, alpha, shape):
    """Symmetric α-stable samples; Chambers, Mallows and Stuck (1976)."""
    angle = generator.uniform(-np.pi / 2, np.pi / 2, shape)
    waiting = generator.exponential(size=shape)
    left = np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha)
    return left * (np.cos((1 - alpha) * angle) / waiting) ** ((1 - alpha) / alpha)


def gaussian_trap(seed, *, unequal=False, correlated=False, zeros=False, shape=(100, 600)):
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(shape)
    if correlated:
        noise = 0.9**0.5 * noise + 0.1**0.5 * generator.standard_normal((shape[0], 1))
    if unequal:
        noise *= np.exp(1.5 * generator.standard_normal(shape[1]))
    if zeros:
        noise[:, ::12] = 0.0
    return noise - noise.mean(axis=0)


TRAPS = [
    {},
    {"unequal": True},
    {"correlated": True},
    {"zeros": True},
    {"unequal": True, "correlated": True, "zeros": True},
]


@pytest.mark.parametrize("alpha", [0.8, 1.2, 1.5, 2.0])
@pytest.mark.parametrize("standardize", [True, False])
def test_stable_laws_are_recovered_with_the_reported_error(alpha, standardize):
    generator = np.random.default_rng(int(10 * alpha))
    results = [
        tail_index(
            stable(generator, alpha, (40, 500)), key=jax.random.key(i), standardize=standardize
        )
        for i in range(120)
    ]
    estimates = np.array([result.alpha for result in results])
    errors = np.array([result.standard_error for result in results])
    assert (np.abs(estimates - alpha) < 4 * errors).all()
    # Fails on a scaling by 10%.
    assert estimates.mean() == pytest.approx(alpha, rel=0.03)
    assert errors.mean() == pytest.approx(estimates.std(ddof=1), rel=0.3)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: "+".join(trap) or "plain")
@pytest.mark.parametrize("standardize", [None, False])
def test_gaussian_noise_is_not_called_heavy(trap, standardize):
    for seed in range(5):
        result = tail_index(
            gaussian_trap(seed, **trap), key=jax.random.key(seed), standardize=standardize
        )
        assert result.verdict == "not distinguishable from Gaussian", result
        assert result.zero_fraction == pytest.approx(50 / 600 if "zeros" in trap else 0.0)
        if standardize is None:
            assert result.alpha == pytest.approx(2.0, abs=5 * result.standard_error)


@pytest.mark.parametrize("trap", TRAPS[1:4], ids="+".join)
def test_the_traps_are_traps_for_the_released_protocol(trap):
    assert tail_index(gaussian_trap(0, **trap), protocol="released").alpha < 1.7


@pytest.mark.parametrize("shape", [(100, 600), (469, 100)])
def test_heavy_tails_are_called_heavy(shape):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        noise = stable(generator, 1.5, shape) * np.exp(1.5 * generator.standard_normal(shape[1]))
        noise[:, ::12] = 0.0
        result = tail_index(noise - noise.mean(axis=0), key=jax.random.key(seed))
        assert result.verdict == "heavy-tailed"
        assert result.heavy_tailed
        assert 1.4 < result.alpha < 1.75
        assert result.surrogate_alpha == pytest.approx(2.0, abs=0.25)


def silenced(generator, noise, name):
    """The noise, exactly zero in some batches."""
    shape = noise.shape
    shares = {"half": 0.5, "unequal": generator.random(shape[1]), "never": 1.0}
    if name == "units":
        return noise * np.repeat(generator.random((shape[0], shape[1] // 10)) < 0.5, 10, axis=1)
    return noise * (generator.random(shape) < shares[name])


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("silence", ["half", "unequal", "units"])
def test_gaussian_noise_that_is_silent_at_times_is_not_called_heavy(silence, center):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        noise = silenced(generator, generator.standard_normal((200, 300)), silence)
        result = tail_index(noise - center * noise.mean(axis=0), key=jax.random.key(seed))
        assert not result.heavy_tailed
        assert result.alpha == pytest.approx(2.0, abs=4 * result.standard_error)
        assert result.silent_fraction == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("classes", [10, 300])
@pytest.mark.parametrize("size", ["one", "sign", "uniform"])
def test_bounded_one_hot_noise_is_not_called_heavy(classes, size):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        noise = np.eye(classes)[generator.integers(classes, size=200)]
        if size != "one":
            sizes = generator.uniform(-1, 1, (200, 1))
            noise = noise * (np.sign(sizes) if size == "sign" else sizes)
        result = tail_index(noise - noise.mean(axis=0), key=jax.random.key(seed))
        assert not result.heavy_tailed, result
        # Nothing but repeated values, or too little beside them: no tail, and no number for it.
        assert np.isnan(result.alpha)
        assert (result.measured, result.verdict) == ("nothing", "no tail to measure")


@pytest.mark.parametrize("center", [True, False])
def test_noise_of_two_values_has_no_tail(center):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        noise = np.where(generator.random((200, 300)) < generator.random(300), 1e-3, -1e-3)
        noise -= center * noise.mean(axis=0)
        result = tail_index(noise, key=jax.random.key(seed))
        assert not result.heavy_tailed
        assert np.isnan([result.alpha, result.standard_error, result.surrogate_alpha]).all()
        curve = alpha_against_group_size(noise, num_sizes=3, key=jax.random.key(seed))
        assert np.isnan(curve.alpha).all()


def test_coordinates_that_are_never_silent_speak_for_all_where_there_are_enough():
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((200, 300))
    # Sums of one or two images: finite variance, and yet more small and large sizes.
    images = generator.poisson(0.5, (200, 200))
    noise[:, 100:] *= images * np.exp(2 * generator.standard_normal((200, 200)))
    noise -= noise.mean(axis=0)
    result = tail_index(noise, key=jax.random.key(0))
    assert result.measured == "coordinates that are never silent"
    assert result.alpha == pytest.approx(2.0, abs=4 * result.standard_error)
    assert result.alpha == tail_index(noise[:, :100], key=jax.random.key(0)).alpha
    few = tail_index(noise[:, 90:], key=jax.random.key(0))
    assert few.measured == "samples that are not silent"
    assert few.alpha < 1.8


@pytest.mark.parametrize("seed", [2, 5])
def test_digits_with_relu_have_gaussian_gradient_noise_at_the_start(seed):
    task, optimizer = tasks.get("digits-mlp-relu"), optimizers.sgd(0.1)
    params = task.init(jax.random.key(0))
    noise = noise_samples(
        task, optimizer, params, optimizer.init(params), key=jax.random.key(seed), num_batches=200
    )
    result = tail_index(noise, key=jax.random.key(3))
    assert result.measured == "coordinates that are never silent"
    assert not result.heavy_tailed
    assert result.alpha == pytest.approx(2.0, abs=3 * result.standard_error)


@pytest.mark.parametrize("silence", ["never", "half", "unequal"])
@pytest.mark.parametrize("alpha", [1.2, 1.5])
def test_heavy_tails_are_found_through_silence(alpha, silence):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        noise = silenced(generator, stable(generator, alpha, (200, 300)), silence)
        result = tail_index(noise - noise.mean(axis=0), key=jax.random.key(seed))
        assert result.heavy_tailed, result
        assert alpha - 0.1 < result.alpha < alpha + 0.25


@pytest.mark.parametrize("shape", [(40, 30), (20, 30)])
def test_the_surrogate_is_silent_where_the_samples_are(shape):
    generator = np.random.default_rng(0)
    samples = silenced(generator, generator.standard_normal(shape), "half")
    samples -= samples.mean(axis=0)
    found = repetitions(samples)
    draws = [gaussian_surrogate(samples, found.repeated, generator) for _ in range(2000)]
    assert (draws[0] == samples)[found.silent].all()
    assert not (draws[0] == samples)[~found.silent].any()
    heard = ~found.silent[:, 0]
    variance = np.mean([draw[heard, 0].var(ddof=1) for draw in draws])
    assert variance == pytest.approx(samples[heard, 0].var(ddof=1), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 10007), (10007, 1), (101, 97), (4, 1)])
def test_any_sample_count_works(shape):
    noise = np.random.default_rng(1).standard_normal(shape)
    result = tail_index(noise, key=jax.random.key(0))
    count = shape[0] * shape[1]
    assert result.group_size == int(count**0.5)
    assert not result.heavy_tailed
    if count > 100:
        assert result.alpha == pytest.approx(2.0, abs=4 * result.standard_error)
    assert np.isnan(result.surrogate_alpha) == (shape[0] == 1)


def naive(flat, group_size, epsilon):
    sums = [sum(flat[i : i + group_size]) for i in range(0, len(flat), group_size)]
    logs = [np.mean([np.log(abs(x) + epsilon) for x in values]) for values in (sums, flat)]
    return np.log(group_size) / (logs[0] - logs[1])


def test_published_protocols_are_the_formula_on_consecutive_groups():
    noise = gaussian_trap(3, unequal=True, shape=(12, 35))
    paper, released = (tail_index(noise, protocol=name) for name in ("paper", "released"))
    assert paper.group_size == released.group_size == 20
    assert paper.alpha == pytest.approx(naive(noise.ravel(), 20, 0.0), rel=1e-12)
    assert released.alpha == pytest.approx(naive(noise.ravel(), 20, 2.2e-16), rel=1e-4)
    assert np.isnan(paper.surrogate_alpha)
    assert not paper.heavy_tailed
    keyed = tail_index(noise, protocol="released", key=jax.random.key(0))
    assert keyed.alpha == released.alpha
    assert np.isfinite(keyed.surrogate_alpha)


def test_released_protocol_counts_every_zero_and_the_others_none():
    noise = gaussian_trap(3, zeros=True, shape=(20, 120))
    released = tail_index(noise, protocol="released")
    assert released.alpha == pytest.approx(
        naive(noise.ravel(), released.group_size, 2.2e-16), rel=1e-4
    )
    assert tail_index(noise, protocol="paper").alpha > released.alpha + 0.3


def test_the_standard_error_is_the_stated_formula():
    noise = np.random.default_rng(0).standard_normal((40, 100))
    result = tail_index(noise, group_size=50, key=jax.random.key(0))
    alpha = result.alpha
    expected = alpha**2 * np.pi * np.sqrt((1 / (6 * alpha**2) + 1 / 12) * 50 / 4000) / np.log(50)
    assert result.standard_error == pytest.approx(expected)


def test_scales_do_not_matter_and_the_key_decides_the_rest():
    noise = np.random.default_rng(0).standard_normal((40, 100))
    first = tail_index(noise, key=jax.random.key(0))
    scaled = tail_index(noise * np.geomspace(1e-9, 1e9, 100), key=jax.random.key(0))
    assert scaled.alpha == pytest.approx(first.alpha, rel=1e-9)
    assert tail_index(noise, key=jax.random.key(0)) == first
    assert tail_index(noise, key=jax.random.key(1)).alpha != first.alpha


@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_the_surrogate_keeps_means_zeros_and_covariance(shape):
    generator = np.random.default_rng(0)
    samples = generator.standard_normal(shape) @ generator.standard_normal((shape[1],) * 2) + 3.0
    samples[:, 2] = 0.0
    repeated = repetitions(samples).repeated
    draws = [gaussian_surrogate(samples, repeated, generator) for _ in range(3000)]
    for draw in draws[:10]:
        np.testing.assert_allclose(draw.mean(axis=0), samples.mean(axis=0), atol=1e-12)
        assert not draw[:, 2].any()
    covariance = np.mean([np.cov(draw, rowvar=False) for draw in draws], axis=0)
    expected = np.cov(samples, rowvar=False)
    assert np.abs(covariance - expected).max() < 0.05 * np.abs(expected).max()
    fourth = np.mean([(draw[0, 0] - samples[:, 0].mean()) ** 4 for draw in draws])
    variance = expected[0, 0] * (1 - 1 / shape[0])
    assert fourth / (3 * variance**2) == pytest.approx(1.0, abs=0.2)


def test_alpha_against_group_size_is_the_tail_index_at_each_size():
    noise = gaussian_trap(0, unequal=True)
    curve = alpha_against_group_size(noise, group_sizes=[10, 244], key=jax.random.key(0))
    for position, size in enumerate((10, 244)):
        one = tail_index(noise, group_size=size, key=jax.random.key(0))
        assert curve.group_sizes[position] == size
        assert curve.alpha[position] == one.alpha
        assert curve.standard_error[position] == one.standard_error
        assert curve.surrogate_alpha[position] == one.surrogate_alpha
    default = alpha_against_group_size(noise, num_sizes=8, key=jax.random.key(0))
    assert len(default.group_sizes) == 8
    assert (np.abs(default.alpha - 2.0) < 5 * default.standard_error + 0.03).all()
    divisors = alpha_against_group_size(noise, protocol="released").group_sizes
    assert (60_000 % divisors == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group_size": 1}, "group_size is 1"),
        ({"group_size": 500}, "group_size is 500"),
        ({"key": None}, "needs a key"),
        ({"samples": np.full((4, 5), np.nan)}, "20 of 20 samples are not finite"),
        ({"samples": np.zeros((4, 5))}, "exactly zero"),
        ({"samples": np.ones((0, 7))}, "shape"),
        ({"samples": np.ones((1, 3))}, "at least 4"),
        ({"samples": np.ones((1, 13)), "protocol": "released"}, "no divisor"),
        ({"group_size": 7, "protocol": "paper"}, "does not divide"),
        ({"standardize": True, "protocol": "released"}, "does not standardize"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, words):
    arguments = {"samples": np.ones((4, 5)) + np.eye(4, 5), "key": jax.random.key(0)} | change
    with pytest.raises(InvalidValueError, match=words):
        tail_index(arguments.pop("samples"), **arguments)


def test_unknown_protocol_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="released"):
        tail_index(np.ones((4, 5)), protocol="release", key=jax.random.key(0))
