"""A panel of your own for `optoscope inspect`: how much of the update is decay of the weights."""

import jax
import numpy as np
import optax

from optoscope import tasks
from optoscope.analysis import inspection
from optoscope.analysis.inspection import Axis, Chart, Findings, Measured, Panel


def weight_decay(looked: inspection.Inspection) -> Findings:
    """The cosine of each optimizer's update with the negative parameters."""
    recording = looked.recording
    cosines = np.zeros((len(recording.names), len(recording.steps)))
    for row, name in enumerate(recording.names):
        for point, met in enumerate(recording.records):
            vectors = [
                np.concatenate([np.ravel(leaf[0]) for leaf in jax.tree.leaves(tree)])
                for tree in (recording.updates[point][name], met.params)
            ]
            scale = np.linalg.norm(vectors[0]) * np.linalg.norm(vectors[1])
            cosines[row, point] = -vectors[0] @ vectors[1] / scale
    axes = {
        "optimizer": Axis("optimizer", np.array(recording.names)),
        "step": Axis("step", np.array(recording.steps)),
    }
    chart = Chart("Pull towards zero", "cosine", "cosine with −parameters", "step")
    return Findings(axes, {"cosine": Measured(("optimizer", "step"), cosines)}, (chart,))


# On the command line: optoscope inspect adam,adamw --task … --panels own_panel.py:panel
panel = Panel("Weight decay", weight_decay, "1 only shrinks the parameters.", "Whether that helps.")

if __name__ == "__main__":
    members = {"adam": optax.adam(1e-2), "adamw": optax.adamw(1e-2, weight_decay=0.1)}
    found = inspection.inspect(
        tasks.get("digits-mlp-relu"),
        members,
        100,
        key=jax.random.key(0),
        panels={"weight-decay": panel},
    )
    print(found["weight-decay"].arrays["cosine"].values.round(3))
