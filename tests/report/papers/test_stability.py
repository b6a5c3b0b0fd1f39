"""Paper C's figures draw from arrays of the shapes that its parts have."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from optoscope import report
from optoscope.papers import stability as paper
from optoscope.report.papers.stability import FIGURES
from optoscope.report.papers.stability._marks import Runs, draw_runs, looks_of, loss_axis
from support.paper_figures import (
    assert_described,
    assert_drawn_and_labeled,
    copies,
    manifest_of,
    parts_of,
    save_run,
    words,
)

MANIFEST, SMOKE = manifest_of(paper.PAPER), manifest_of(paper.PAPER, "smoke")
PARTS, WORDS = parts_of(MANIFEST), MANIFEST.labels
LEFT_OUT = {figure.key: figure.left_out for figure in SMOKE.figures}
LOOKS = looks_of(paper.ARMS)
# The last is not there at smoke scale.
MAIN = ("hyperparam", "blackbox", "star-0.5", "star-small")
INTERVENTIONS = ("nominal", "weight decay", "preconditioning", "all")
GUESS = np.log(10)


def generator(name):
    return np.random.default_rng([ord(letter) for letter in name])


def kept(num_steps, count=60):
    return np.unique(np.geomspace(1, num_steps, count).round().astype(int)) - 1


def lives(name, shape, steps, start, *, lost_at=None, speed=1.0):
    """Smoothed losses that fall by a power; the first run of the first seed may be lost."""
    draw = generator(name)
    start = start * draw.uniform(0.97, 1.03, shape)
    power = speed * draw.uniform(0.4, 0.7, shape)[..., None]
    losses = start[..., None] * (1 + steps / 60) ** -power
    losses = losses * np.exp(0.04 * draw.normal(size=losses.shape))
    losses[..., 0] = start
    if lost_at is not None:
        after = steps > lost_at
        losses[0, 0, after] *= np.exp(np.minimum((steps[after] - lost_at) / (0.1 * lost_at), 400))
        losses[0, 0, steps > 2 * lost_at] = np.nan
        losses[-1, -1, after] *= 50 * (steps[after] / lost_at) ** 0.8
    diverged = ~(losses[..., -1] <= start)
    return losses, start, diverged


def training(name, seeds, evaluations, reports):
    draw, longest = generator(name), 10 * (evaluations - 1)
    steps = np.arange(evaluations) * 10
    first = 1.5 * GUESS if "hyperparam" not in name else 2.2
    level = 0.3 + 0.1 * draw.random((seeds, 1))
    held_out = level + (first - level) * np.exp(-steps / (0.15 * longest + 1))
    held_out += 0.02 * draw.normal(size=held_out.shape) * (steps > 0)
    report_steps = np.linspace(1, longest, reports).round().astype(int)
    seen = np.stack([np.interp(report_steps, steps, row) for row in held_out])
    return {
        "steps": steps,
        "held_out": np.minimum(held_out, 1.5 * GUESS),
        "report_steps": report_steps,
        "meta_loss": np.abs(seen + 0.1 * draw.normal(size=seen.shape)),
        "gradient_norm": draw.uniform(0, 5, seen.shape),
        "non_finite": np.zeros(seen.shape),
        "skipped": np.zeros(seeds),
        "best_step": steps[held_out.argmin(axis=1)],
        "seconds": np.full(seeds, 60.0),
        "weight_decay": np.array(0.5),
        "learning_rate": np.array(1e-3),
        "maximum": np.array(1.5 * GUESS),
    }


def far(name, seeds, runs, horizon, multiples):
    steps = kept(horizon * multiples[-1])
    speed = 1.8 if "star" in name else 1.0
    lost_at = 3 * horizon if "blackbox" in name or name.endswith("star-0") else None
    losses, start, diverged = lives(name, (seeds, runs), steps, GUESS, lost_at=lost_at, speed=speed)
    broken = ~np.isfinite(losses)
    each = [1] * len(multiples)
    return {
        "steps": steps,
        "smoothed": losses,
        "initial": start,
        "horizon": np.array(horizon),
        "multiples": np.array(multiples),
        "diverged": np.stack([diverged for _ in each], axis=-1),
        "worst": np.stack([np.max(losses, axis=-1) for _ in each], axis=-1),
        "lost_at": np.where(broken.any(axis=-1), steps[broken.argmax(axis=-1)], np.inf),
        "at_horizon": 0.1 * start,
        "at_multiples": np.stack([0.05 * start for _ in each], axis=-1),
        "maximum": np.array(1.5 * GUESS),
    }


def unseen(name, seeds, runs, num_steps):
    steps = kept(num_steps)
    text = "language" in name
    start = np.log(65) if text else 0.1 if name.endswith("autoencoder") else GUESS
    arrays = {}
    learned = MAIN if seeds > 1 else MAIN[:-1]
    for index, contestant in enumerate((*learned, "adam", "nadamw")):
        lost_at = num_steps / 5 if contestant == "blackbox" else None
        shape = (seeds if contestant in MAIN else 1, runs)
        speed = (0.3 if text else 0.9) * (0.6 + 0.2 * index)
        losses, _, diverged = lives(
            contestant + name, shape, steps, start, lost_at=lost_at, speed=speed
        )
        losses[..., 0] = start
        arrays |= {
            f"{contestant}/smoothed": losses,
            f"{contestant}/mean": losses.mean(axis=-1),
            f"{contestant}/final": losses[..., -1],
            f"{contestant}/diverged": diverged,
            "initial": np.full(runs, start),
        }
    return arrays | {
        "steps": steps,
        "num_steps": np.array(num_steps),
        "num_params": np.array(118_282),
        "guess": np.array(np.log(65) if text else GUESS if "auto" not in name else 0.07),
        "description": np.array("what it is"),
    }


def stable_curvature(learned):
    names = ("sgd", "momentum-0.5", "momentum-0.7", "momentum-0.9", "adam", *learned)
    grid, runs = np.geomspace(1e-3, 1e4, 50), 10.0 ** np.arange(-2, 3.5, 0.5)
    arrays = {"run_curvatures": runs}
    outcomes = np.where(runs < 20, "converges", "diverges")
    for index, name in enumerate(names):
        told = name != "adam"
        arrays |= {
            f"{name}/curvatures": grid,
            f"{name}/spectral_radii": np.abs(1 - 0.1 * grid / (1 + index)),
            f"{name}/intervals": np.array([[0.0, 20.0 * (1 + index)]]) if told
            else np.zeros((0, 2)),
            f"{name}/outcomes": outcomes if told else np.full(len(runs), "limit cycle"),
            f"{name}/informative": np.array(told),
        }  # fmt: skip
    return arrays


def theory(name, learned=MAIN):
    draw = generator(name)
    if name in ("eigenvalues", "bounds"):
        way = np.linspace(1, 0.4, 9)[:, None]
        path = way * (draw.normal(size=6) + 1j * draw.normal(size=6))
        return {f"{one}/eigenvalues": path for one in INTERVENTIONS}
    if name == "meta-gradient-variance":
        return {
            "nominals": np.linspace(0, 1.4, 12),
            "horizons": np.array([1, 2, 5, 10, 100, 1000]),
            "trace_variance": 10 ** draw.uniform(0, 12, (12, 6)),
            "limit": np.array(1.4),
            "num_seeds": np.array(500),
        }
    if name == "quadratic-meta-training":
        return {
            "nominals": np.array([0.0, 0.2, 0.4]),
            "steps": 10 * np.arange(40),
            "magnitudes": draw.uniform(0, 1, (3, 3, 40, 2)),
            "expected_loss": draw.uniform(1, 20, (3, 3, 40)),
        }
    return stable_curvature(learned)


def part(name, *, small=False):
    """The arrays of a part; `small` as at smoke scale."""
    kind, _, rest = name.partition("-")
    main = any(rest.endswith(f"-{arm}") for arm in MAIN)
    seeds = (2 if main else 1) if small else (5 if main else 2)
    if kind == "training":
        return training(name, seeds, 2 if small else 21, 1 if small else 900)
    if kind == "far":
        return far(
            name, seeds, 2 if small else 4, 20 if small else 2000, (2, 3) if small else (10, 100)
        )
    if kind == "unseen":
        return unseen(rest, 1 if small else 5, 1 if small else 3, 20 if small else 10_000)
    return theory(name, MAIN[:-1] if small else MAIN)


# Words that a reader needs to know what is on the axes.
_COMPARED = ("Meta-training, MLP", "Far past the horizon, MLP", "meta-step", "inner step",
             "horizon", "mean normalized loss", "STAR, weight decay 0.5")  # fmt: skip
_UNSEEN = ("inner step", "loss, smoothed", "Adam, tuned", "NAdamW, tuned", "Hyperparam", "STAR",
           "guessing", "118,282 parameters", "Blackbox: 2 of 15 diverged")  # fmt: skip
LABELS = {
    "1": ("(d) All three", "real part", "before"),
    "2": ("500 seeds", "nominal step α", "(c) Meta-loss"),
    "3": (*_COMPARED, "Far past the horizon, CNN", "Blackbox\n(2 of 20 diverged)", "10×"),
    "4": (*_UNSEEN, "MLP, layer norm", "Residual network", "LSTM language model", "Transformer"),
    "app-1": ("meta-seed 4", "the one kept", "2 of 20 diverged", "CNN: inner loss, smoothed"),
    "app-2": (*_COMPARED, "STAR, weight decay 0\n(1 of 8 diverged)", "STAR, weight decay 1"),
    "app-3": (*_COMPARED, "STAR without preconditioning"),
    "app-4": (*_COMPARED, "STAR without the nominal term"),
    "app-5": (*_UNSEEN, *(WORDS[name.removeprefix("unseen-")] for name in PARTS["app-5"])),
    "app-6": (*_UNSEEN, *(WORDS[name.removeprefix("unseen-")] for name in PARTS["app-6"])),
    "blackbox-scale": (*_COMPARED, *(f"STAR with β₃ = 1e-{power}" for power in (4, 5, 6))),
    "joint-stability": ("Momentum 0.7", "Adam", "STAR, weight decay 0.5", "curvature λ"),
}
MEASURED = [key for key in FIGURES if key not in ("1", "2", "joint-stability")]


@pytest.fixture(scope="module")
def parts():
    return {name: part(name) for names in PARTS.values() for name in names}


def records_of(key, parts):
    return copies(PARTS[key], parts, WORDS)


def test_every_figure_of_the_paper_has_a_picture_and_its_words():
    assert sorted(PARTS) == sorted(LABELS)
    assert_described(FIGURES, MANIFEST)


def test_whatever_is_drawn_has_a_label():
    assert set(paper.ARMS) <= set(WORDS)
    for names in PARTS.values():
        for kind, _, rest in (name.partition("-") for name in names):
            if kind == "unseen":
                assert rest in WORDS
            elif kind in ("training", "far"):
                task, _, arm = rest.partition("-")
                assert {task, arm} <= set(WORDS)


def test_a_further_arm_has_a_look_of_its_own_which_is_the_same_in_every_figure():
    labels = ("one", *paper.ARMS, "another")
    found = looks_of(("another", "star-0"), labels)
    assert found["another"] == looks_of(("another", "one"), labels)["another"]
    everything = looks_of(labels, labels)
    assert list(everything) == list(labels)
    assert len({(look.color, look.dashes) for look in everything.values()}) >= len(labels) - 2
    assert all(look.learned for look in everything.values())


@pytest.mark.parametrize("key", FIGURES)
def test_every_figure_is_drawn_and_labeled(key, parts):
    assert_drawn_and_labeled(FIGURES[key], records_of(key, parts), LABELS[key])


@pytest.mark.parametrize("key", ["4", "app-3"])
def test_figures_can_be_laid_out(key, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FIGURES[key].picture(records_of(key, parts)).draw_without_rendering()


def test_a_smaller_scale_says_which_arms_it_leaves_out():
    assert LEFT_OUT["app-4"] == ("no-nominal",)
    assert LEFT_OUT["3"] == ()
    assert all(figure.left_out == () for figure in MANIFEST.figures)


@pytest.mark.parametrize("key", MEASURED)
def test_records_of_smoke_scale_are_drawn(key):
    names = parts_of(SMOKE)[key]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = {name: part(name, small=True) for name in names}
        figure = FIGURES[key].picture(copies(names, small, WORDS, LEFT_OUT[key]))
    named = [line for line in words(figure).splitlines() if line.startswith("not measured: ")]
    missing = "" if key == "app-1" else "; ".join(WORDS[arm] for arm in LEFT_OUT[key])
    assert named == ([f"not measured: {missing}"] if missing else [])
    assert "CNN" not in words(figure).replace("Deep CNN", "")


def nothing_finite(arrays):
    for key, values in arrays.items():
        if key.endswith(("smoothed", "held_out", "meta_loss")):
            arrays[key] = np.full_like(values, np.nan)
        if key.endswith("diverged"):
            arrays[key] = np.ones_like(values)


def many_decades(arrays):
    for key, values in arrays.items():
        if key.endswith("smoothed"):
            values[0] *= np.geomspace(1, 1e-30, values.shape[-1])
            values[-1, -1] *= np.geomspace(1, 1e300, values.shape[-1])


def nothing_lost(arrays):
    for key, values in arrays.items():
        if key.endswith("smoothed"):
            arrays[key] = np.ones_like(values)
        if key.endswith("diverged"):
            arrays[key] = np.zeros_like(values)


@pytest.fixture(scope="module")
def small_parts():
    return {name: part(name, small=True) for key in ("4", "app-1", "app-3") for name in PARTS[key]}


@pytest.mark.parametrize("spoil", [nothing_finite, many_decades, nothing_lost])
@pytest.mark.parametrize("key", ["4", "app-1", "app-3"])
def test_degenerate_records_are_drawn(key, spoil, small_parts):
    records = records_of(key, small_parts)
    for arrays in records.values():
        spoil(arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = words(FIGURES[key].picture(records))
    lost = [np.any(v) for arrays in records.values() for k, v in arrays.items()
            if k.endswith("diverged")]  # fmt: skip
    assert (" of " in text) == any(lost)


def drawn(losses, start, diverged):
    axes, steps = Figure().subplots(), np.arange(losses.shape[-1])
    runs = Runs(losses, start, diverged)
    loss_axis(axes, [losses], list(start.ravel()), always_log=True)
    draw_runs(axes, steps, runs, LOOKS["blackbox"], "median")
    crosses = [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "x"]
    (middle,) = [line.get_ydata() for line in axes.lines if line.get_label() == "median"]
    return crosses, middle


def test_a_cross_is_where_a_diverged_run_was_last_below_its_start():
    runs = [[2, 1, 1.5, 3, 8, np.nan], [2, 1, 0.9, 0.8, 0.7, 0.6], [2, 3, 4, 5, 6, 7],
            [2, 1, 0.5, np.nan, np.nan, np.nan]]  # fmt: skip
    losses = np.array(runs).reshape(2, 2, 6)
    diverged = np.array([[True, False], [True, True]])
    crosses, middle = drawn(losses, np.full((2, 2), 2.0), diverged)
    # Steps are counted from 1 on a logarithmic axis.
    assert sorted(crosses) == [(1, 2.0), (3, 0.5), (3, 1.5)]
    # A lost run counts as infinitely bad: none is left once half are lost.
    np.testing.assert_allclose(middle, [2, 1, 1.2, 4, 7, np.nan])


def test_crosses_stay_inside_the_axes():
    losses = np.array([[[1.0, 1e-30, np.nan], [1.0, 0.5, 0.3]]])
    crosses, _ = drawn(losses, np.ones((1, 2)), np.array([[True, False]]))
    assert crosses[0][0] == 2
    assert 0.1 < crosses[0][1] < 0.3


def test_runs_past_the_horizon_are_counted_at_the_end():
    arrays = part("far-mlp-star-0.5")
    arrays["diverged"][..., 0] = True
    arrays["diverged"][1, 2, 1] = True
    assert Runs.of(arrays).note == "1 of 20 diverged"


def test_meta_training_is_a_mean_over_seeds_with_its_standard_error(parts):
    records = records_of("3", parts)
    panel = FIGURES["3"].picture(records).axes[0]
    held_out = records["training-mlp-star-0.5"]["held_out"]
    look = LOOKS["star-0.5"]
    thick = [line for line in panel.lines if line.get_linewidth() == look.width]
    (line,) = [line for line in thick if line.get_color() == look.color]
    np.testing.assert_allclose(line.get_ydata(), held_out.mean(axis=0))
    band = panel.collections[3].get_paths()[0].vertices
    error = np.std(held_out[:, 0], ddof=1) / len(held_out) ** 0.5
    np.testing.assert_allclose(np.ptp(band[band[:, 0] == 0, 1]), 2 * error, atol=1e-12)


def test_the_axes_are_not_stretched_by_a_failed_run():
    axes = Figure().subplots()
    loss_axis(axes, [np.array([2.0, 1.0, 0.01]), np.array([2.0, 1e30, np.inf])], [2.0, 2.0])
    low, high = axes.get_ylim()
    assert (low < 0.01, high < 10, axes.get_yscale()) == (True, True, "log")
    axes = Figure().subplots()
    loss_axis(axes, [np.array([4.0, 3.0]), np.array([4.0, 1e30])], [4.0])
    assert (axes.get_ylim()[1] < 6, axes.get_yscale()) == (True, "linear")


def test_the_page_shows_what_the_records_allow(tmp_path):
    names = ("far-mlp-star-0.5", "training-cnn-star-0.5", "unseen-autoencoder")
    save_run(tmp_path, SMOKE, {name: part(name, small=True) for name in names})
    page = report.render(tmp_path).read_text()
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"app-6"}
    assert "Appendix 6: Unseen tasks, the other half" in page
    assert "Appendix 3" not in page


def test_only_the_paper_that_the_run_is_of_is_drawn(tmp_path):
    save_run(tmp_path, SMOKE, {name: part(name, small=True) for name in ("eigenvalues", "bounds")})
    (tmp_path / "records" / "illustration.json").write_text("{}")  # of paper A
    report.render(tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"figure-1"}


def test_a_run_without_a_manifest_shows_no_paper(tmp_path):
    save_run(tmp_path, SMOKE, {"eigenvalues": part("eigenvalues")})
    (tmp_path / "manifest.json").unlink()
    report.render(tmp_path)
    assert not (tmp_path / "figures").exists()
