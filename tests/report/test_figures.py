from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from optoscope import report
from optoscope._core.drawings import Drawing, ProbeText
from optoscope._core.errors import FileFormatError
from optoscope.report import SearchRecord
from optoscope.report._curves import _loss_limits
from optoscope.report._probe_figures import probe_figures, probe_texts
from optoscope.report._search import _score_limits
from optoscope.report._statistics import spread
from optoscope.report._style import looks, save
from support.run_files import (
    interval,
    make_losses,
    make_probe_texts,
    make_probes,
    make_results,
    make_search,
)


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def search_records(arrays=None):
    arrays = arrays or make_search()
    names = {key.split("/")[0] for key in arrays}
    return {
        name: report.SearchRecord(
            score=arrays[f"{name}/score"],
            hyperparameters={
                key.split("/")[1]: value
                for key, value in arrays.items()
                if key.startswith(f"{name}/") and not key.endswith("/score")
            },
        )
        for name in names
    }


def metrics(meta_loss, evaluation=None):
    count = len(meta_loss)
    column = np.zeros(count)
    return report.MetaTraining(
        step=np.arange(1.0, count + 1),
        meta_loss=np.asarray(meta_loss, dtype=float),
        gradient_norm=column,
        skipped=column + 3,
        non_finite_tasks=column + 4,
        seconds=column,
        evaluation_loss=np.full(count, np.nan) if evaluation is None else evaluation,
    )


def test_the_registry_names_and_describes_every_figure():
    assert {kind.name for kind in report.FIGURES} == {
        "loss_curves", "early_losses", "comparison", "search", "probes", "meta_training",
        "mechanisms",
    }  # fmt: skip
    for kind in report.FIGURES:
        assert kind.text.title
        assert len(kind.text.how_to_read) > 80
        assert len(kind.text.what_it_does_not_show) > 80


def test_every_figure_can_be_drawn_from_a_full_run(full_run):
    run = report.read_run(full_run)
    for kind in report.FIGURES:
        assert kind.can_draw(run)
        assert isinstance(kind.draw(run), Figure)


def test_all_words_are_at_least_nine_points(full_run):
    run = report.read_run(full_run)
    for kind in report.FIGURES:
        figure = kind.draw(run)
        figure.draw_without_rendering()
        sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text()]
        assert min(sizes) >= 9


def test_one_optimizer_has_one_color_in_all_figures(full_run):
    run = report.read_run(full_run)
    colors = set()
    for kind in report.FIGURES:
        figure = kind.draw(run)
        figure.draw_without_rendering()
        for text in figure.findobj(Text):
            if text.get_visible() and text.get_text().split("\n")[0] == "adam":
                colors.add(text.get_color())
    assert len(colors) == 1


def test_probes_draw_what_they_say_with_what_to_compare_it_with():
    (figure,) = (kind for kind in report.FIGURES if kind.name == "probes")
    labels = ["cosine: rescale", "α of update noise", "norm of the update"]
    texts = probe_texts(make_probe_texts())
    run = report.Run(Path(), {}, probes=make_probes(("adam",)), probe_texts=texts)
    assert figure.can_draw(run)
    drawn = probe_figures(run.probes, texts, look=looks(("adam",)))
    panels = [axes for axes in drawn.axes if axes.get_visible()]
    assert [axes.get_ylabel() for axes in panels] == labels
    assert panels[0].get_yscale() == "log"
    assert panels[1].get_yscale() == "linear"
    np.testing.assert_array_equal(panels[0].lines[0].get_xdata(), np.arange(0, 100, 10))
    np.testing.assert_array_equal(panels[0].lines[1].get_ydata(), 0.03)
    said = figure.text_of(run)
    assert "symmetry: How symmetry is read." in said.how_to_read
    assert "norms: What norms hides." in said.what_it_does_not_show
    only_vectors = {key: v for key, v in run.probes.items() if key.endswith((".vector", "steps"))}
    assert not figure.can_draw(report.Run(Path(), {}, probes=only_vectors, probe_texts=texts))
    assert not figure.can_draw(report.Run(Path(), {}, probes=run.probes))


def test_a_histogram_is_drawn_for_each_optimizer_and_a_spread_for_all():
    bins, steps = np.array([0.1, 1.0, 10.0]), np.array([0, 5])
    counts = np.array([[[3, 1], [0, 0]], [[1, 3], [0, 8]]])
    probes = {}
    for name in ("adam", "sgd"):
        probes |= {
            f"{name}/p.counts": counts,
            f"{name}/p.edges": np.broadcast_to(bins, (2, 2, 3)),
            f"{name}/p.values": np.stack([counts, 10 * counts]),
            f"{name}/p/steps": steps,
        }
    kinds = (
        Drawing("histogram", ".counts", "size", "m", True, edges=".edges"),
        Drawing("spread", ".values", "values"),
    )
    texts = {"p": ProbeText("", "", kinds)}
    drawn = probe_figures(probes, texts, look=looks(("adam", "sgd")))
    first, second, spread = (axes for axes in drawn.axes if axes.get_visible())
    assert "adam" in [text.get_text() for text in first.texts]
    assert [text.get_text() for text in second.texts] == ["sgd"]
    assert first.get_ylabel() == "size (m)"
    # Shares of each measurement, over runs: 4 and 4 of 8, 0 and 8 of 8.
    np.testing.assert_allclose(
        first.collections[0].get_array().reshape(2, 2), [[0.5, 0.0], [0.5, 1.0]]
    )
    assert spread.get_ylabel() == "values"
    values = np.moveaxis(probes["adam/p.values"], 1, 0).reshape(2, -1)
    np.testing.assert_allclose(spread.lines[0].get_ydata(), np.median(values, axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drawings": [{"kind": "pie"}]}, "pie"),
        ({"drawings": 3}, "not a list"),
        ({"drawings": ["curve"]}, "not an object"),
    ],
)
def test_drawings_that_are_none_are_refused(change, message):
    content = make_probe_texts()
    content["probes"]["norms"] |= change
    with pytest.raises(FileFormatError, match=message):
        probe_texts(content)


def test_loss_curves_show_the_median():
    losses = {"adam": np.array([[1.0, 2.0], [2.0, 3.0], [9.0, 9.0]])}
    (line,) = report.loss_curves(losses).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 3.0])


def test_the_axis_is_logarithmic_only_when_the_range_asks():
    wide = {"adam": np.geomspace(2, 0.1, 50)[None]}
    narrow = {"adam": np.linspace(2, 1, 50)[None]}
    assert report.loss_curves(wide).axes[0].get_yscale() == "log"
    assert report.loss_curves(narrow).axes[0].get_yscale() == "linear"
    assert report.early_losses(wide).axes[0].get_yscale() == "linear"
    negative = {"adam": np.linspace(2, -5, 50)[None]}
    assert report.loss_curves(negative).axes[0].get_yscale() == "linear"
    reached = {"adam": np.append(np.geomspace(2, 1e-8, 50), 0.0)[None]}
    axes = report.loss_curves(reached).axes[0]
    assert (axes.get_yscale(), axes.get_ylim()[0] > 5e-9) == ("log", True)
    zeros = {"adam": np.zeros((1, 50))}
    assert report.loss_curves(zeros).axes[0].get_yscale() == "linear"


def test_small_losses_after_large_ones_survive_the_smoothing():
    curve = 1e-12 + np.exp(-np.arange(20_000.0) / 50)
    axes = report.loss_curves({"adam": curve[None]}).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(axes.lines[0].get_ydata()[5000:], 1e-12, rtol=1e-9)


def test_early_losses_are_the_first_hundred_as_measured():
    losses = make_losses(("adam",), runs=1, steps=1000)
    (line,) = report.early_losses(losses).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), losses["adam"][0, :100])


def test_long_runs_are_smoothed_and_it_is_said():
    figure = report.loss_curves(make_losses(("adam",), steps=1000))
    assert "running mean of 5 steps" in figure.axes[0].get_ylabel()
    assert "running mean" not in report.loss_curves(make_losses(steps=200)).axes[0].get_ylabel()


def test_diverged_runs_are_counted_in_the_label():
    losses = make_losses()
    losses["lion"][:2, 50:] = np.nan
    losses["adam"][:6, 20:] = np.inf
    figure = report.loss_curves(losses)
    assert "lion\n(2 of 10 diverged)" in texts(figure)
    assert "adam\n(6 of 10 diverged)" in texts(figure)
    assert "lstm\n(" not in texts(figure)


def test_a_curve_far_above_the_start_does_not_flatten_the_others():
    losses = make_losses()
    losses["lion"] = losses["lion"] * np.linspace(1, 1e9, 200)
    assert report.loss_curves(losses).axes[0].get_ylim()[1] < 100
    assert report.early_losses(losses).axes[0].get_ylim()[1] < 10


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1.0, -1.0])
def test_constant_and_lost_curves_are_drawn(tmp_path, value):
    losses = {"adam": np.full((3, 20), value), "lstm": np.full((1, 1), value)}
    save(report.loss_curves(losses, learned=["lstm"]), tmp_path / "curves")
    save(report.early_losses(losses), tmp_path / "early")


def test_the_comparison_has_a_panel_for_each_horizon_and_for_accuracy():
    figure = report.comparison(report.Results.from_json(make_results()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Mean loss, first 100 steps", "Mean loss, first 200 steps", "Test accuracy",
    ]  # fmt: skip
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["lstm", "momentum", "adam", "lion"]


def test_the_comparison_says_what_diverged_or_was_not_measured():
    results = make_results()
    results["optimizers"]["adam"]["mean_loss"]["100"] = interval(None)
    results["optimizers"]["lion"]["test_accuracy"] = None
    words = texts(report.comparison(report.Results.from_json(results)))
    assert words.count("diverged") == 1
    assert words.count("not measured") == 1


def test_a_comparison_without_accuracy_or_any_number_is_drawn(tmp_path):
    results = make_results()
    for entry in results["optimizers"].values():
        entry |= {"test_accuracy": None, "final_loss": interval(None), "mean_loss": {}}
    save(report.comparison(report.Results.from_json(results)), tmp_path / "comparison")


def test_the_search_names_the_best_rate_and_the_edge():
    words = texts(report.search(search_records()))
    assert "adam\n(best at 0.1)" in words
    assert "momentum\n(best at 3.16)" in words
    assert "lion\n(best at 0.01, the edge)" in words


def stars(figure: Figure) -> dict[Any, Line2D]:
    """The stars by the color they are seen in."""
    return {
        color: line
        for line in figure.axes[0].get_lines()
        if line.get_marker() == "*"
        for color in [line.get_markerfacecolor(), line.get_markeredgecolor()]
        if color not in ("none", "white")
    }


def test_a_star_that_would_cover_another_is_an_outline_around_it():
    arrays = make_search()
    arrays["lion/learning_rate"] = arrays["adam/learning_rate"]
    arrays["lion/score"] = 1.001 * arrays["adam/score"]
    found = stars(report.search(search_records(arrays)))
    drawn = {name: found[look.color] for name, look in looks(("adam", "momentum", "lion")).items()}
    outlined = [name for name, star in drawn.items() if star.get_markerfacecolor() == "none"]
    assert outlined in (["adam"], ["lion"])
    below = drawn["lion" if outlined == ["adam"] else "adam"]
    assert drawn[outlined[0]].get_markersize() > 1.5 * below.get_markersize()
    assert drawn["momentum"].get_markersize() == below.get_markersize()


def test_a_random_search_has_an_edge_too():
    rates = np.geomspace(1e-4, 1.0, 101)
    falling = {"adam/learning_rate": rates, "adam/score": 1 - np.linspace(0, 0.5, 101)}
    falling["adam/score"][-1] = 0.6
    assert "the edge" in texts(report.search(search_records(falling)))
    inside = falling | {"adam/score": np.abs(np.linspace(-1, 1, 101))}
    assert "the edge" not in texts(report.search(search_records(inside)))


def test_a_best_rate_beside_diverged_ones_is_not_at_the_edge():
    arrays = {
        "adam/learning_rate": np.array([0.01, 0.1, 1.0]),
        "adam/score": np.array([2.0, 1.0, np.nan]),
    }
    words = texts(report.search(search_records(arrays)))
    assert "best at 0.1" in words
    assert "the edge" not in words


@pytest.mark.parametrize("rates", [[0.0, 0.0], [-1.0, 0.0]])
def test_rates_without_a_logarithm_are_left_out(tmp_path, rates):
    arrays = {"adam/learning_rate": np.array(rates), "adam/score": np.ones(2)}
    save(report.search(search_records(arrays)), tmp_path / "search")


def test_a_search_in_which_all_diverged_is_drawn(tmp_path):
    arrays = {"adam/learning_rate": np.array([0.1, 1.0]), "adam/score": np.full(2, np.nan)}
    figure = report.search(search_records(arrays))
    assert "nothing finite" in texts(figure)
    save(figure, tmp_path / "search")


def test_a_search_with_one_configuration_is_drawn(tmp_path):
    arrays = {"adam/learning_rate": np.array([0.1]), "adam/score": np.array([1.0])}
    save(report.search(search_records(arrays)), tmp_path / "search")


def test_meta_training_smooths_and_says_what_was_lost(tmp_path):
    loss = np.full(80, 2.0)
    loss[10] = np.nan
    evaluation = np.where(np.arange(80) % 20 == 19, 1.5, np.nan)
    figure = report.meta_training(metrics(loss, evaluation))
    words = texts(figure)
    assert "running mean of 5 reports" in words
    assert "1 report not finite" in words
    assert "3 meta-gradients skipped" in words
    np.testing.assert_array_equal(figure.axes[0].lines[2].get_ydata(), [1.5] * 4)


@pytest.mark.parametrize("loss", [[1.0], [np.nan, np.nan], [-3.0, -4.0]])
def test_meta_training_of_odd_losses_is_drawn(tmp_path, loss):
    save(report.meta_training(metrics(loss)), tmp_path / "meta")


def test_odd_names_are_drawn_as_they_are(tmp_path):
    losses = {name: np.ones((2, 3)) for name in ("$x$", "_hidden", "<script>", "a\x07b", "")}
    figure = report.loss_curves(losses)
    assert "<script>" in texts(figure)
    _, drawing = save(figure, tmp_path / "curves")
    assert "<script>" not in drawing.read_text()
    assert "&lt;script&gt;" in drawing.read_text()


@pytest.mark.parametrize("allow_log", [True, False])
def test_losses_below_zero_are_drawn_whole(allow_log):
    step = np.arange(200)
    falling = {"adam": (0.01 - 5 * (1 - np.exp(-step / 20)))[None]}
    spreads = {name: spread(curve) for name, curve in falling.items()}
    low, high, is_log = _loss_limits(spreads, allow_log)
    assert not is_log
    assert low < -4.9
    assert high > 0.01
    # What fails far above its start does not flatten the others.
    spreads["wild"] = spread((-2 + 1e6 * step)[None].astype(float))
    assert _loss_limits(spreads, allow_log)[1] < 10


def test_scores_below_zero_are_not_flattened_by_one_that_failed():
    score = np.array([-5.0, -4.0, -3.0, -2.0, 1e9])
    low, high, is_log = _score_limits({"adam": SearchRecord(score, {})})
    assert not is_log
    assert low < -5
    assert -2 < high < 20
