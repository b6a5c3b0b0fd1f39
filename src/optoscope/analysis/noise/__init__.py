"""The noise of gradients and updates: its tails, and its covariance over mini-batches."""

from optoscope.analysis.noise._covariance import (
    CovarianceProbe,
    UpdateCovariance,
    update_covariance,
)
from optoscope.analysis.noise._probe import NoiseProbe
from optoscope.analysis.noise._samples import FreshBatchProbe, noise_samples
from optoscope.analysis.noise._tail_index import (
    GroupSizeCurve,
    TailIndex,
    alpha_against_group_size,
    tail_index,
)
from optoscope.analysis.noise._tail_index_probe import TailIndexProbe

__all__ = [
    "CovarianceProbe",
    "FreshBatchProbe",
    "GroupSizeCurve",
    "NoiseProbe",
    "TailIndex",
    "TailIndexProbe",
    "UpdateCovariance",
    "alpha_against_group_size",
    "noise_samples",
    "tail_index",
    "update_covariance",
]
