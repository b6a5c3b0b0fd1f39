"""Paper B's figures draw from arrays of the shapes that its parts have."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from optoscope import report
from optoscope.papers import reverse_engineering as paper
from optoscope.report._style import Look
from optoscope.report.papers._marks import limits
from optoscope.report.papers.reverse_engineering import FIGURES
from optoscope.report.papers.reverse_engineering._marks import TASKS, memory, project
from optoscope.report.papers.reverse_engineering._performance import draw_losses
from optoscope.report.papers.reverse_engineering._search import _cells, _heat_map
from support.paper_b_records import SEEDS, part
from support.paper_figures import (
    assert_described,
    assert_drawn_and_labeled,
    copies,
    manifest_of,
    parts_of,
    save_run,
    words,
)

# Published optimizers stand in a figure of their own, where their weights are.
MANIFEST = manifest_of(paper.PAPER, figures="all")
PARTS = parts_of(MANIFEST)
LEADING_SEEDS = ("states-", "fixed-points-", "clipping-", "schedule-", "adaptation-", "groups-",
                 "manifold-", "meta-training-")  # fmt: skip
UNSEEDED = {"best", "steps", "gradient_edges", "chance", "gradients", "arm_index", "optimum",
            "names", "sizes", "types", "layers"}  # fmt: skip

# Words that a reader needs to know what is on the axes.
LABELS = {
    "1": ("loss", "inner step", "condition number of AᵀA"),
    "2": ("update Δ", "gradient g", "v = -2", "s = 16"),
    "3": ("PC 1", "variance of states", "update Δ", "Re λ", "Im λ", "the mode's share"),
    "4": ("update Δ", "density of met gradients", "gradient g", "1.3% beyond"),
    "5": ("effective learning rate", "step without a gradient", "|cos| to the readout"),
    "6": ("held gradient g*", "Δ(g) − Δ(0)", "size of the gradient |g*|"),
    "7": ("conv_0/weights", "dense/bias", "effective learning rate", "|g|"),
    "13": ("speed ‖F(h, 0) − h‖", "effective learning rate", "one direction holds 98%"),
    "14": ("timescale |β|", "learning rate |α|", "loss / first loss", "its first mode alone"),
    "15": ("meta-step", "timescale |β|", "held-out loss", "heavy ball, closed form"),
    "17": ("meta-objective (mean loss of a run)", "RMSProp"),
    **dict.fromkeys(
        ("18", "19", "20", "21"),
        ("learning rate α", "momentum β", "decay γ", "β₁", "β₂", "diverged"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def parts():
    return {name: part(name) for names in PARTS.values() for name in names}


def records_of(key, parts):
    return copies(PARTS[key], parts, MANIFEST.labels)


def test_every_figure_of_the_paper_has_a_picture_and_its_words():
    assert list(PARTS) == list(LABELS)
    assert_described(FIGURES, manifest_of(paper.PAPER))


@pytest.mark.parametrize("key", LABELS)
def test_every_figure_is_drawn_and_labeled(key, parts):
    assert_drawn_and_labeled(FIGURES[key], records_of(key, parts), LABELS[key])


def test_lines_are_looked_for_in_published_optimizers():
    first = {
        "places": np.linspace(-1, 1, 9),
        "rates": np.linspace(0.1, 0.3, 9),
        "explained": np.array(0.97),
        "spread": np.array(0.002),
        "eigenvalues": np.array([0.9, 0.3 + 0.1j, 0.3 - 0.1j]),
    }
    # Where there is no derivative nothing is said of eigenvalues.
    second = first | {"eigenvalues": np.full(3, np.nan, complex)}
    parts = {"line-rnnprop": first, "line-dm_cl_il": second}
    assert_drawn_and_labeled(
        FIGURES["lines"],
        copies(parts, parts, MANIFEST.labels),
        [
            "RNNProp\none direction: 97% of the points' variance,\n0.2% of the visited one",
            "L2O-DM, both",
            "least |1 − λ|: 0.1",
            "no derivative",
        ],
    )


@pytest.mark.parametrize("key", ["2", "7", "14", "17"])
def test_figures_can_be_laid_out(key, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FIGURES[key].picture(records_of(key, parts)).draw_without_rendering()


def one_seed(records):
    for name, arrays in records.items():
        if name.startswith(LEADING_SEEDS):
            for key in set(arrays) - UNSEEDED:
                arrays[key] = arrays[key][1:]
        for key in arrays:
            if key == "best":
                arrays[key] = np.array(0)
            elif "/" in key and arrays[key].ndim and len(arrays[key]) == SEEDS:
                arrays[key] = arrays[key][1:]


def nothing_found(records):
    """No measured number is known, as when meta-training fails and no point is found."""
    for name, arrays in records.items():
        if name.startswith(LEADING_SEEDS):
            for key in set(arrays) - UNSEEDED - {"pca_mean", "pca_components", "pca_explained"}:
                if arrays[key].dtype.kind in "fc":
                    arrays[key] = np.full_like(arrays[key], np.nan)


@pytest.mark.parametrize("spoil", [one_seed, nothing_found])
@pytest.mark.parametrize("key", [key for key in LABELS if key not in ("2", "19", "20", "21")])
def test_degenerate_records_are_drawn(key, spoil, parts):
    records = records_of(key, parts)
    spoil(records)
    assert FIGURES[key].picture(records).axes


def test_a_diverged_baseline_is_counted_and_its_line_ends(parts):
    records = records_of("1", parts)
    records["performance-rosenbrock"]["adam/losses"][0, :3, 20:] = np.nan
    figure = FIGURES["1"].picture(records)
    assert "Adam: 3 of 64 diverged" in words(figure)
    panel = next(a for a in figure.axes if a.get_title(loc="left") == TASKS["rosenbrock"])
    (line,) = [line for line in panel.lines if line.get_label() == "Adam"]
    assert np.isfinite(line.get_ydata()).sum() == 20


@pytest.mark.parametrize("lost", [3, 64])
def test_violins_leave_lost_runs_out_and_say_so(parts, lost):
    records = records_of("17", parts)
    records["performance-regression"]["adam/objective"][0, :lost] = np.inf
    assert f"Adam\n({lost} of\n64 lost)" in words(FIGURES["17"].picture(records))


def test_violins_of_equal_values_are_points(parts):
    records = records_of("17", parts)
    records["performance-cnn"]["adam/objective"][:] = 0.5
    FIGURES["17"].picture(records).draw_without_rendering()


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_search_that_diverged_is_drawn(parts, share):
    records = records_of("18", parts)
    score = records["tuned-regression"]["adam/score"]
    score[: int(share * len(score))] = np.inf
    count = int(np.isinf(score).sum())
    assert f"{count} of {len(score)} diverged" in words(FIGURES["18"].picture(records))


def test_a_search_in_which_nothing_is_finite_is_drawn(parts):
    records = records_of("19", parts)
    for name in ("momentum", "rmsprop", "adam"):
        records["tuned-rosenbrock"][f"{name}/score"][:] = np.inf
    assert FIGURES["19"].picture(records).axes


def test_the_edge_is_in_the_title(parts):
    text = words(FIGURES["18"].picture(records_of("18", parts)))
    assert "RMSProp, on an edge" in text
    assert "momentum, on an edge" not in text


def test_heat_maps_hold_the_best_over_the_rest(parts):
    arrays = parts["tuned-regression"]
    axes = Figure().subplots()
    _heat_map(axes, arrays, ("adam", "learning_rate", "b2"), LogNorm(0.01, 1))
    drawn = np.asarray(axes.collections[0].get_array().filled(np.nan))
    rates, decays = np.unique(arrays["adam/learning_rate"]), np.unique(arrays["adam/b2"])
    assert drawn.shape == (len(decays), len(rates))
    for row, decay in enumerate(decays):
        for column, rate in enumerate(rates):
            cell = (arrays["adam/b2"] == decay) & (arrays["adam/learning_rate"] == rate)
            scores = arrays["adam/score"][cell]
            if np.isfinite(scores).any():
                assert drawn[row, column] == scores.min()
            else:
                assert not np.isfinite(drawn[row, column])


def test_the_star_is_at_what_was_taken_after_a_second_round(parts):
    arrays = parts["tuned-regression"]
    name, *both = panel = ("rmsprop", "learning_rate", "decay")
    taken = int(np.argsort(arrays[f"{name}/score"])[40])
    for hyper in both:
        arrays[f"{name}/best/{hyper}"] = arrays[f"{name}/{hyper}"][taken]
    axes = Figure().subplots()
    _heat_map(axes, arrays, panel, LogNorm(0.01, 1))
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    cell = [_cells(arrays[f"{name}/{hyper}"])[0][taken] + 0.5 for hyper in both]
    assert [*star.get_xdata(), *star.get_ydata()] == cell


def test_cells_of_a_grid_are_its_values_even_in_single_precision():
    grid = (1 - np.geomspace(1e-4, 1.0, 13)).astype(np.float32)
    index, levels = _cells(np.concatenate([grid, grid.astype(float)]))
    assert len(levels) == 13
    np.testing.assert_array_equal(index[:13], index[13:])


def test_cells_without_a_grid_hold_equally_many():
    index, levels = _cells(np.random.default_rng(0).uniform(size=3200))
    np.testing.assert_allclose(np.bincount(index), 100, atol=1)
    assert (np.diff(levels) > 0).all()


def test_loss_curves_are_means_with_standard_errors():
    losses = np.random.default_rng(0).uniform(1, 2, (1, 5, 7))
    axes = Figure().subplots()
    arrays = {"a/losses": losses, "best": np.array(0)}
    draw_losses(axes, arrays, {"a": Look("#000000", "-", False)}, {"a": "a"})
    np.testing.assert_allclose(axes.lines[0].get_ydata(), losses[0].mean(axis=0))
    band = axes.collections[0].get_paths()[0].vertices
    error = np.std(losses[0, :, 0], ddof=1) / 5**0.5
    at_start = band[band[:, 0] == 1, 1]
    np.testing.assert_allclose(np.ptp(at_start), 2 * error)


def test_relative_losses_start_at_one():
    losses = np.random.default_rng(0).uniform(1, 2, (1, 5, 7))
    axes = Figure().subplots()
    arrays = {"a/losses": losses, "best": np.array(0)}
    draw_losses(axes, arrays, {"a": Look("#000000", "-", False)}, {"a": "a"}, relative=True)
    expected = np.mean([row / row[0] for row in losses[0]], axis=0)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), expected)


def test_the_best_meta_seed_is_drawn(parts):
    records = records_of("1", parts)
    arrays = records["performance-regression"]
    arrays["best"] = np.array(0)
    panel = FIGURES["1"].picture(records).axes[0]
    (line,) = [line for line in panel.lines if line.get_label() == "learned"]
    np.testing.assert_allclose(line.get_ydata(), arrays["learned/losses"][0].mean(axis=0))


def test_projection_is_along_the_components_of_the_best_seed(parts):
    fixed, visited = parts["fixed-points-cnn"], parts["states-cnn"]["states"][1]
    expected = np.empty((*visited.shape[:-1], 3))
    for place in np.ndindex(visited.shape[:-1]):
        for component in range(3):
            shift = visited[place] - fixed["pca_mean"][1]
            expected[place][component] = np.sum(shift * fixed["pca_components"][1, component])
    np.testing.assert_allclose(project(fixed, visited), expected, atol=1e-12)


def test_memory_keeps_the_order_and_survives_the_unit_circle():
    values = np.array([0.0, 0.5j, 0.9, -0.99, 1.0, 1.2, np.nan])
    np.testing.assert_allclose(memory(values), [0, -np.log10(0.5), 1, 2, 4, 4, np.nan], atol=1e-9)


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf]])
def test_limits_of_nothing(values):
    assert limits(np.array(values)) == (-1.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, 1e30])
def test_limits_of_one_value_are_an_interval_around_it(value):
    low, high = limits(np.array([value, np.nan]))
    assert low < value < high


def test_limits_leave_out_the_asked_share():
    low, high = limits(np.append(np.linspace(0, 1, 99), 1e9), share=0.02, margin=0.0)
    assert 0 <= low < 0.05
    assert 0.95 < high <= 1


def test_the_page_shows_what_the_records_allow(tmp_path, parts):
    there = {name: parts[name] for name in ("known-updates", "groups-cnn")}
    save_run(tmp_path, MANIFEST, there)
    page = report.render(tmp_path).read_text()
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"figure-2"}
    assert "Figure 2: Update functions of known optimizers" in page
