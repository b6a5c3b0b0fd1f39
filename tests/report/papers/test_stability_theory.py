"""The theory figures of paper C draw from arrays like those of `analysis.quadratic`."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from optoscope.report._style import save
from optoscope.report.papers.stability._theory import (
    CURVATURE_TEXT,
    EIGENVALUES_TEXT,
    VARIANCE_TEXT,
    _smoothed,
    curvature_figure,
    eigenvalue_figure,
    stability_figure,
)

NAMES = ("nominal", "weight decay", "preconditioning", "all")


def words(figure):
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_visible())


def figure_1(size=3, strengths=5):
    generator = np.random.default_rng(0)
    way = np.linspace(1, 0.4, strengths)[:, None]
    path = way * (1 + generator.normal(size=size) + 1j * generator.normal(size=size))
    return {f"{name}/eigenvalues": path for name in NAMES}


def figure_2(records=30, seeds=3):
    generator = np.random.default_rng(1)
    variance = {
        "nominals": np.linspace(0, 1, 6),
        "horizons": np.array([1, 10, 100]),
        "trace_variance": generator.uniform(1, 1e6, (6, 3)),
        "limit": np.array(1.0),
        "num_seeds": np.array(500),
    }
    training = {
        "nominals": np.array([0.0, 0.2]),
        "steps": 10 * np.arange(records),
        "magnitudes": generator.uniform(0, 1, (2, seeds, records, 2)),
        "expected_loss": generator.uniform(1, 20, (2, seeds, records)),
    }
    return variance, training


def test_figure_1_has_a_panel_for_each_intervention(tmp_path):
    figure = eigenvalue_figure(figure_1())
    assert len(figure.axes) == 4
    assert "(d) All three" in words(figure)
    assert "before" in words(figure)
    png, svg = save(figure, tmp_path / "figure-1")
    assert png.stat().st_size > 1000
    assert svg.is_file()


def test_figure_1_with_one_eigenvalue_and_two_strengths():
    words(eigenvalue_figure(figure_1(size=1, strengths=2)))


def test_figure_2_names_its_lines():
    text = words(stability_figure(*figure_2()))
    for expected in ("500 seeds", "T = 1", "T = 100", "α = 0.2", "(c) Meta-loss"):
        assert expected in text


@pytest.mark.parametrize("spoil", ["one seed", "two records", "overflow"])
def test_figure_2_with_little_or_broken_data(spoil):
    variance, training = figure_2(
        records=2 if spoil == "two records" else 30, seeds=1 if spoil == "one seed" else 3
    )
    if spoil == "overflow":
        variance["trace_variance"][-1] = np.inf
        training["expected_loss"][0] = np.inf
    with np.errstate(invalid="ignore"):
        assert isinstance(stability_figure(variance, training), Figure)


def test_curvatures_show_what_cannot_be_said():
    grid = np.geomspace(0.01, 100, 20)
    arrays = {"run_curvatures": np.array([0.1, 1.0, 10.0, 100.0])}
    for name, informative in (("sgd", True), ("lion", False)):
        arrays |= {
            f"{name}/curvatures": grid,
            f"{name}/spectral_radii": np.abs(1 - 0.5 * grid) if informative else np.ones(20),
            f"{name}/intervals": np.array([[0.0, 4.0]]) if informative else np.zeros((0, 2)),
            f"{name}/outcomes": np.array(["converges", "stalls", "limit cycle", "diverges"]),
            f"{name}/informative": np.array(informative),
        }
    text = words(curvature_figure(arrays, {"sgd": "gradient descent", "lion": "Lion"}))
    assert text.count("linearization says nothing") == 1
    assert "a run ends in a limit cycle" in text


def test_the_smoothing_is_that_of_its_definition():
    values = np.array([[1.0, 0.0, 2.0]])
    np.testing.assert_allclose(_smoothed(values), [[1.0, 0.95, 0.95**2 + 0.1]])


@pytest.mark.parametrize("text", [EIGENVALUES_TEXT, VARIANCE_TEXT, CURVATURE_TEXT])
def test_every_figure_says_how_it_is_read(text):
    assert len(text.how_to_read) > 80
    assert len(text.what_it_does_not_show) > 80
