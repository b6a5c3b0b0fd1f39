"""Every registered probe says how it is drawn, and is drawn from what a comparison saves."""

import json

import numpy as np
import pytest

# `analysis` registers its probes.
from optoscope import analysis, bench, optimizers, report, tasks, training  # noqa: F401
from optoscope._core.keys import stream
from optoscope.report._probe_figures import panels, probe_figures
from optoscope.report._style import looks

NAMES = ("adam", "momentum")
STEPS, EVERY = 5, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two optimizers, measured by everything there is."""
    directory = tmp_path_factory.mktemp("run")
    task = tasks.get("digits-mlp-relu", batch_size=16, hidden=(4,))
    probes = {name: training.PROBES[name](every=EVERY) for name in training.PROBES}
    probes["own"] = Largest(every=EVERY)
    evaluation = bench.evaluate(
        task,
        {name: optimizers.get(name) for name in NAMES},
        STEPS,
        key=stream(0, "evaluation"),
        num_runs=2,
        probes=probes,
    )
    found = bench.Comparison(evaluation, {}, NAMES, STEPS, task.metadata, 0, 1.0, probes=probes)
    found.write(directory, draw=False)
    (directory / "config.json").write_text(json.dumps({"command": "evaluate"}))
    return report.read_run(directory)


class Largest(training.Probe):
    """The largest entry of the first array of the updates; it says nothing of drawing."""

    def measure(self, record):
        return {"largest": np.asarray(1.0) * record.updates["layer_0"]["weights"].max()}


@pytest.mark.parametrize("name", [*training.PROBES.names(), "own"])
def test_it_is_drawn_as_it_says(run, name):
    mine = [panel for panel in panels(run.probes, run.probe_texts) if panel.probe == name]
    text = run.probe_texts[name]
    assert text == (training.PROBES[name] if name != "own" else Largest).text
    # Everything that it says can be drawn is there to be drawn.
    assert {panel.drawing for panel in mine} == set(text.drawings)
    drawn = probe_figures(run.probes, {name: text}, look=looks(NAMES))
    axes = [one for one in drawn.axes if one.get_visible()]
    assert len(axes) == min(len(mine), 24)
    for one, panel in zip(axes, mine, strict=False):
        assert one.get_ylabel() == panel.label
        assert one.get_xlabel() == "inner step"
        if panel.drawing.kind == "histogram":
            assert one.collections[0].get_array().max() > 0
        else:
            lines = [line for line in one.lines if line.get_label() in NAMES]
            assert [line.get_label() for line in lines] == list(NAMES)
            for line in lines:
                np.testing.assert_array_equal(line.get_xdata(), [0, 2, 4])
                assert np.isfinite(line.get_ydata()).any()


@pytest.mark.parametrize("name", training.PROBES.names())
def test_it_says_how_to_read_it_and_what_it_does_not_show(name):
    text = training.PROBES[name].text
    assert text is not training.Probe.text
    assert len(text.how_to_read) > 80
    assert len(text.what_it_does_not_show) > 80
    assert all(drawing.label for drawing in text.drawings)


def test_the_page_shows_them_with_their_words(run):
    page = report.render(run.directory).read_text()
    for name in training.PROBES:
        assert f"{name}: " in page
    assert (run.directory / "figures" / "probes.png").exists()
