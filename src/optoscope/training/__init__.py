"""The inner loop: training a task with an optimizer."""

from optoscope._core.drawings import Drawing, ProbeText
from optoscope.training._probes import PROBES, LayerUpdateSizes, Norms, Probe
from optoscope.training._run import run_keys
from optoscope.training._step import (
    InnerState,
    StepRecord,
    initial_state,
    inner_step,
)
from optoscope.training._train import (
    Trajectory,
    compile_train,
    train,
)

__all__ = [
    "PROBES",
    "Drawing",
    "InnerState",
    "LayerUpdateSizes",
    "Norms",
    "Probe",
    "ProbeText",
    "StepRecord",
    "Trajectory",
    "compile_train",
    "initial_state",
    "inner_step",
    "run_keys",
    "train",
]
