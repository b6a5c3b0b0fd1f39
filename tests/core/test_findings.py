"""Findings: arrays must fit their axes, and charts must draw what is there."""

import json

import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope._core.findings import Axis, Chart, Findings, Measured

AXES = {
    "optimizer": Axis("optimizer", np.array(["sgd", "adam"])),
    "step": Axis("step", np.array([0, 10, 100])),
}
LOSS = Measured(("optimizer", "step"), np.arange(6.0).reshape(2, 3))
CHART = Chart("Loss", "loss", "loss", "step")


def test_parts_are_found_by_their_names():
    found = Findings(AXES, {"loss": LOSS}, (CHART,), ("It falls.",))
    assert found.at("loss", optimizer="adam").tolist() == [3.0, 4.0, 5.0]
    assert found.at("loss", step=10).tolist() == [1.0, 4.0]
    assert float(found.at("loss", step=100, optimizer="sgd")) == 2.0
    assert AXES["optimizer"].named
    assert not AXES["step"].named
    with pytest.raises(InvalidValueError, match="no place 'lion'; it has sgd, adam"):
        found.at("loss", optimizer="lion")


def test_records_and_json_hold_everything():
    found = Findings(AXES, {"loss": LOSS}, (CHART,), ("It falls.",))
    assert set(found.records()) == {"axis/optimizer", "axis/step", "array/loss"}
    content = json.loads(json.dumps(found.as_json()))
    assert content["arrays"] == {"loss": ["optimizer", "step"]}
    assert content["axes"] == {"optimizer": "optimizer", "step": "step"}
    assert content["charts"][0]["along"] == "step"
    assert content["sentences"] == ["It falls."]


@pytest.mark.parametrize(
    ("axes", "arrays", "chart", "message"),
    [
        ({"step": Axis("step", np.array([True, False]))}, {}, None, "type bool"),
        (AXES, {"loss": Measured(("optimizer", "time"), LOSS.values)}, None, "the axis 'time'"),
        (AXES, {"loss": Measured(("step", "optimizer"), LOSS.values)}, None, r"have \(3, 2\)"),
        (AXES, {"loss": LOSS}, Chart("Loss", "los", "loss", "step"), "draws 'los'"),
        (AXES, {"loss": LOSS}, Chart("Loss", "loss", "loss", "time"), "the axis 'time'"),
        (AXES, {"loss": LOSS}, Chart("L", "loss", "l", "step", slider="run"), "the axis 'run'"),
        (AXES, {"loss": LOSS}, Chart("L", "loss", "l", "step", reference="x"), "draws 'x'"),
        (AXES, {"loss": LOSS}, Chart("L", "loss", "l", "step", kind="pie"), "of kind 'pie'"),
    ],
)
def test_what_does_not_fit_is_refused(axes, arrays, chart, message):
    with pytest.raises(InvalidValueError, match=message):
        Findings(axes, arrays, () if chart is None else (chart,))


def test_what_is_drawn_beside_has_no_axes_of_its_own():
    axes = AXES | {"run": Axis("run", np.arange(3))}
    arrays = {"loss": LOSS, "runs": Measured(("run",), np.zeros(3))}
    with pytest.raises(InvalidValueError, match="must be among optimizer, step"):
        Findings(axes, arrays, (Chart("L", "loss", "l", "step", reference="runs"),))
