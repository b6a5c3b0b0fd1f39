"""Optimizers whose mechanisms are known come back as those mechanisms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optoscope import optimizers, training
from optoscope._core.errors import InvalidValueError
from optoscope.analysis.dynamics import (
    _distill,
    aggregated_momentum,
    coordinate_map,
    distill,
    linearize,
)
from optoscope.analysis.dynamics._distill import _gains
from optoscope.analysis.dynamics._explicit import (
    Adaptation,
    Clipping,
    ExplicitOptimizer,
    Schedule,
)
from optoscope.analysis.dynamics._fits import fit_adaptation, fit_clipping, fit_schedule
from optoscope.tasks import get
from optoscope.training import Trajectory


class Known(eqx.Module):
    """v ← 0.75 v + s g, s ← 0.9 s + 0.1 from s = 3, m ← 0.5 m + 0.5 g, update −0.1 v / (1 + m²).

    The state is (v, s, m), the gradient is clipped softly at 0.5.
    """

    clip: float = 0.5
    start: float = 3.0
    adapt: float = 1.0

    def init(self, params):
        return jnp.zeros_like(params), jnp.full_like(params, self.start), jnp.zeros_like(params)

    def update(self, grads, state, params=None):
        v, s, m = state
        m = 0.5 * m + 0.5 * grads
        grads = self.clip * jnp.tanh(grads / self.clip) if self.clip else grads
        v = 0.75 * v + s * grads
        return -0.1 * v / (1 + self.adapt * m**2), (v, 0.9 * s + 0.1, m)


def explicit(**parts):
    modes = linearize(coordinate_map(optimizers.aggmo(0.1, [0.5, 0.875])), np.zeros(2)).modes()
    return ExplicitOptimizer(aggregated_momentum(modes), **parts)


def array(*values):
    return (jnp.asarray(value) for value in values)


EVERYTHING = {
    "clipping": Clipping(*array(0.5)),
    "schedule": Schedule(*array(2.0, 9.0)),
    "adaptation": Adaptation(*array(0.75, 2.0, 0.5)),
}


def test_fits_give_back_the_numbers():
    coordinates = coordinate_map(Known(adapt=0.0))
    rest = np.array([0.0, 1.0, 0.0])
    assert float(fit_clipping(coordinates, rest, (1e-2, 5.0)).threshold) == pytest.approx(
        0.5, rel=1e-4
    )
    schedule = fit_schedule(coordinates, rest, 60, 0.01)
    assert float(schedule.excess) == pytest.approx(2.0, rel=1e-3)
    assert float(schedule.duration) == pytest.approx(-1 / np.log(0.9), rel=1e-3)


def test_adaptation_is_found_where_the_rate_falls():
    class Adaptive(eqx.Module):
        def init(self, params):
            return jnp.zeros_like(params)

        def update(self, grads, state, params=None):
            state = 0.5 * state + 0.5 * grads
            return -0.1 * grads / (1 + (jnp.abs(state) / 2) ** 2), state

    found = fit_adaptation(coordinate_map(Adaptive()), np.zeros(1), (0.01, 30.0), 0.5)
    # At the slope's g = 0 the mean has already fallen to a half.
    assert float(found.scale) == pytest.approx(4.0, rel=0.05)
    assert float(found.power) == pytest.approx(2.0, rel=0.05)


def test_what_is_not_there_is_not_found():
    coordinates = coordinate_map(optimizers.momentum(0.1, 0.75))
    assert fit_clipping(coordinates, np.zeros(1), (1e-3, 10.0)) is None
    assert fit_schedule(coordinates, np.zeros(1), 30, 0.1) is None
    assert fit_adaptation(coordinates, np.zeros(1), (1e-2, 10.0), 0.5) is None


@pytest.mark.parametrize(
    "names", [(), ("clipping",), ("clipping", "schedule", "adaptation")], ids=len
)
def test_the_source_is_the_optimizer(names):
    optimizer = explicit(**{name: EVERYTHING[name] for name in names})
    assert optimizer.mechanisms == names
    scope = {}
    exec(optimizer.source(), scope)
    copy = scope["distilled"]()
    assert isinstance(copy, optax.GradientTransformation)
    params = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(())}
    states = optimizer.init(params), copy.init(params)
    for step in range(4):
        keys = jax.random.split(jax.random.key(step))
        grads = {"w": jax.random.normal(keys[0], (3, 2)), "b": jax.random.normal(keys[1])}
        mine, first = optimizer.update(grads, states[0], params)
        theirs, second = copy.update(grads, states[1], params)
        states = first, second
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), mine, theirs)


def test_mechanisms_do_what_they_say():
    grads = jnp.array([0.01, -4.0])
    plain = explicit()
    clipped = explicit(clipping=EVERYTHING["clipping"])
    expected = plain.update(0.5 * jnp.tanh(grads / 0.5), plain.init(grads))[0]
    np.testing.assert_allclose(clipped.update(grads, clipped.init(grads))[0], expected, rtol=1e-6)
    scheduled = explicit(schedule=EVERYTHING["schedule"])
    first = plain.update(3.0 * grads, plain.init(grads))[0]
    np.testing.assert_allclose(scheduled.update(grads, scheduled.init(grads))[0], first, rtol=1e-6)
    assert explicit(**EVERYTHING).without("schedule").mechanisms == ("clipping", "adaptation")


def test_without_memory_the_long_run_rate_stays():
    optimizer = explicit()
    forgetful = optimizer.without("momentum")
    state, other = optimizer.init(jnp.ones(1)), forgetful.init(jnp.ones(1))
    for _ in range(200):
        update, state = optimizer.update(jnp.ones(1), state)
    instantly, _ = forgetful.update(jnp.ones(1), other)
    np.testing.assert_allclose(instantly, update, rtol=1e-5)


@pytest.mark.slow
def test_a_clipped_momentum_is_distilled_to_itself():
    learned = Known(start=1.0, adapt=0.0)
    result = distill(
        learned,
        get("quadratic"),
        baseline=optimizers.sgd(0.02),
        key=jax.random.key(0),
        share=0.99,
        num_steps=60,
        num_runs=16,
    )
    assert result.num_modes == 1
    assert result.sufficient
    assert set(result.mechanisms) <= {"clipping"}
    assert result.gains["everything"].share == pytest.approx(1.0, abs=1e-3)
    assert result.gains["baseline"].gain.value == 0
    assert result.gains["distilled"].share > 0.97
    # Its momentum is no good on these problems: without it the same rate does better.
    assert result.gains["without momentum"].share > 1.2
    assert "momentum" not in result.established
    assert result.gains["distilled"].kept.low > 0.9
    assert "def distilled" in result.source
    run = training.train(get("quadratic"), result.transformation, 5, key=jax.random.key(1))
    assert np.isfinite(run.losses).all()


def test_gains_are_logarithms_where_losses_have_some_and_differences_elsewhere():
    losses = {"baseline": np.array([1.0, 4.0]), "learned": np.array([0.5, 1.0])}
    found = _gains(losses | {"half": np.array([np.sqrt(0.5), 2.0])})
    assert found["learned"].gain.value == pytest.approx(1.5 * np.log(2))
    assert found["half"].share == pytest.approx(0.5)
    assert found["learned"].loss == pytest.approx(np.sqrt(0.5))
    lower = _gains({name: values - 3 for name, values in losses.items()})
    assert lower["learned"].gain.value == pytest.approx(1.75)
    assert lower["learned"].loss == pytest.approx(-2.25)
    assert lower["baseline"].share == 0
    assert not lower["baseline"].gain.has_ends


def test_runs_that_fail_count_as_ten_times_their_start_also_below_zero(monkeypatch):
    losses = np.array([[2.0, 1e9], [2.0, np.nan], [2.0, 1.0]])
    for moved, expected in ((0.0, [20.0, 20.0, 1.5]), (-3.0, [8.0, 8.0, -1.5])):
        run = Trajectory(jnp.asarray(losses + moved), None, None, {}, {})
        monkeypatch.setattr(_distill, "train", lambda *_, run=run, **__: run)
        found = _distill._losses(optimizers.sgd(0.1), get("quadratic"), 2, 3, jax.random.key(0))
        np.testing.assert_allclose(found, expected)


def test_nothing_gained_is_an_error():
    with pytest.raises(InvalidValueError, match="no gain"):
        distill(
            optimizers.momentum(0.001, 0.5),
            get("quadratic"),
            baseline=optimizers.momentum(0.1, 0.75),
            key=jax.random.key(0),
            num_steps=20,
            num_runs=4,
        )
