"""The inner loop: an optimizer acts on a task and leaves a trajectory."""

from optoscope.training._probes import PROBES, LayerUpdateSizes, Norms, Probe
from optoscope.training._step import (
    InnerState,
    StepRecord,
    draw_batches,
    initial_state,
    inner_step,
)
from optoscope.training._train import (
    Trajectory,
    compile_train,
    inner_bytes,
    map_chunked,
    measured_steps,
    run_keys,
    run_once,
    side_by_side,
    split_run_key,
    train,
)

__all__ = [
    "PROBES",
    "InnerState",
    "LayerUpdateSizes",
    "Norms",
    "Probe",
    "StepRecord",
    "Trajectory",
    "compile_train",
    "draw_batches",
    "initial_state",
    "inner_bytes",
    "inner_step",
    "map_chunked",
    "measured_steps",
    "run_keys",
    "run_once",
    "side_by_side",
    "split_run_key",
    "train",
]
