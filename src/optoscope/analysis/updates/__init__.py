"""How large updates are."""

from optoscope.analysis.updates._histograms import (
    HistogramProbe,
    UpdateHistogram,
    log_bins,
    update_histogram,
)

__all__ = ["HistogramProbe", "UpdateHistogram", "log_bins", "update_histogram"]
