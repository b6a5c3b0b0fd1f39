"""Figures of paper A that no run at the smallest scale draws in full."""

import numpy as np
import pytest

from optoscope.report.papers.symmetry_and_noise import FIGURES
from support.paper_figures import assert_drawn_and_labeled, copies

NETWORKS = ("leaky-relu", "batch-norm", "sigmoid")


def measured(names, repetitions):
    """A part's arrays of deviations and of noise at once."""
    draw, steps = np.random.default_rng(0), np.arange(0, 21, 10)
    arrays = {}
    for name in names:
        arrays[f"{name}/losses"] = draw.uniform(0.2, 2, (repetitions, 2, 20))
        for key in ("cosine", "sum_abs"):
            arrays[f"{name}/{key}"] = draw.uniform(0.01, 0.1, (repetitions, 2, 20))
        arrays[f"{name}/steps"] = np.stack([steps] * repetitions)
        for key in ("update/corrected/alpha", "gradient/corrected/alpha", "covariance/top"):
            arrays[f"{name}/{key}"] = draw.uniform(1, 2, (repetitions, 3))
    return arrays


@pytest.mark.parametrize("guests", [(), ("printed", "dm", "dm_cl_il")])
def test_others_are_drawn_beside_the_learned_ones(guests):
    parts = {
        f"{kind}-{network}": measured(("momentum", "adam", "lion", "lstm"), 1)
        for kind in ("deviations", "noise")
        for network in NETWORKS
    }
    for name in guests:
        # The paper's protocol stands beside the others on one network.
        for network in NETWORKS[: 1 if name == "printed" else 3]:
            for kind in ("deviations", "noise"):
                parts[f"{kind}-{network}-{name}"] = measured((name,), 1)
    words = {"printed": "LSTM, paper's protocol", "dm": "L2O-DM", "dm_cl_il": "L2O-DM, both"}
    assert_drawn_and_labeled(
        FIGURES["others"],
        copies(parts, parts),
        ["learned (LSTM)", "leaky ReLU", *(words[name] for name in guests)],
    )


def test_an_optimizer_without_a_tail_index_stands_beside_others():
    names = {"": ("momentum", "adam", "lion", "lstm"), "-rnn": ("rnn",)}
    parts = {
        f"{kind}-leaky-relu{suffix}": measured(found, 3)
        for kind in ("deviations", "noise")
        for suffix, found in names.items()
    }
    parts["noise-leaky-relu"]["lion/update/corrected/alpha"][:, 1:] = np.nan
    assert_drawn_and_labeled(FIGURES["sweep-optimizer"], copies(parts, parts), ["learned (GRU)"])
