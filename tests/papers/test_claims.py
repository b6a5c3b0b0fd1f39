"""Verdicts on numbers made by hand, both ways."""

import numpy as np
import pytest

from optoscope.papers._claims import judge, measured_claims
from optoscope.papers.symmetry_and_noise import CLAIMS, FIGURES
from optoscope.papers.symmetry_and_noise import _statistics as statistics

BY_ID = {claim.id: claim for claim in CLAIMS}


def verdicts(claim: str, records: dict) -> dict[str, str]:
    entries = measured_claims(BY_ID[claim], records, "A", "test")
    return {entry["protocol"]: entry["verdict"] for entry in entries}


def test_the_interval_is_students():
    found = judge(np.array([1.0, 2.0, 3.0]))
    assert found.measured == 2.0
    assert found.interval is not None
    # t(0.975; 2) = 4.3027, standard error 1/sqrt(3).
    np.testing.assert_allclose(found.interval, (2 - 2.4841, 2 + 2.4841), atol=1e-3)
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("values", "threshold", "verdict"),
    [
        ([1.0, 1.1, 0.9], 0.0, "holds"),
        ([1.0, 1.1, 0.9], 2.0, "does not hold"),
        ([1.0, 1.1, 0.9], 1.0, "inconclusive"),
        ([1.0], 0.0, "inconclusive"),
        ([], 0.0, "inconclusive"),
        ([1.0, np.nan, 1.0], 0.0, "inconclusive"),
        ([1.0, np.inf, 1.0], 0.0, "inconclusive"),
    ],
)
def test_verdicts(values: list[float], threshold: float, verdict: str):
    assert judge(np.array(values), threshold).verdict == verdict


def test_ids_are_unique_and_figures_exist():
    assert len(BY_ID) == len(CLAIMS)
    assert {claim.figure for claim in CLAIMS} <= set(FIGURES)
    assert all(claim.measures for claim in CLAIMS)


def deviation_arrays(learned: float, adam: float) -> dict:
    wiggle = np.array([0.95, 1.0, 1.05])[:, None, None]
    part = {}
    for aggregate in ("sum_abs", "signed", "cosine"):
        ones = np.ones((1, 4, 20))
        part[f"momentum/{aggregate}"] = 0.1 * ones
        part[f"adam/{aggregate}"] = adam * ones
        part[f"lion/{aggregate}"] = ones * np.linspace(1, 5, 20) * np.array([1, 2, 3, 4])[:, None]
        part[f"lstm/{aggregate}"] = learned * wiggle * np.linspace(5, 1, 20) * np.ones((3, 4, 1))
    return {"deviations-leaky-relu": part}


def test_deviations_above_and_below_the_baselines():
    every = ("paper", "released", "corrected")
    claim = "A4-above-leaky-relu"
    assert verdicts(claim, deviation_arrays(1.0, 0.2)) == dict.fromkeys(every, "holds")
    assert verdicts(claim, deviation_arrays(1.0, 9.0)) == dict.fromkeys(every, "does not hold")


def test_the_protocols_are_judged_by_their_own_numbers():
    records = deviation_arrays(1.0, 0.2)
    records["deviations-leaky-relu"]["adam/cosine"] *= 100
    found = verdicts("A4-above-leaky-relu", records)
    assert (found["paper"], found["corrected"]) == ("holds", "does not hold")


def test_early_and_growing():
    records = deviation_arrays(1.0, 0.2)
    assert set(verdicts("A4-early-leaky-relu", records).values()) == {"holds"}
    part = records["deviations-leaky-relu"]
    part |= {key: value[..., ::-1] for key, value in part.items()}
    assert set(verdicts("A4-early-leaky-relu", records).values()) == {"does not hold"}


def penalty_arrays(levels: list[float]) -> dict:
    wiggle = np.array([0.99, 1.0, 1.01])
    losses = np.array(levels)[:, None, None, None] * wiggle[:, None, None] * np.ones((1, 3, 2, 8))
    return {"penalty-leaky-relu": {"losses": losses, "betas": np.arange(len(levels))}}


@pytest.mark.parametrize(
    ("levels", "slower", "in_order"),
    [
        ([1.0, 1.2, 1.5], "holds", "holds"),
        ([1.0, 1.6, 1.5], "holds", "does not hold"),
        ([1.0, 0.8, 0.6], "does not hold", "does not hold"),
    ],
)
def test_the_penalty_slows_and_in_order(levels: list[float], slower: str, in_order: str):
    records = penalty_arrays(levels)
    assert verdicts("A5-slower-penalty-leaky-relu", records) == {"paper": slower}
    assert verdicts("A5-order-penalty-leaky-relu", records) == {"paper": in_order}


def lion_sgd_arrays(scales: list[float]) -> dict:
    runs = np.array([0.9, 1.0, 1.1, 1.0])
    values = np.array(scales)[:, None, None] * runs[:, None] * np.ones((1, 4, 5))
    aggregates = dict.fromkeys(("sum_abs", "signed", "cosine"), values)
    return {"lion-sgd": aggregates | {"losses": 1 / values}}


def test_lion_sgd_rises_with_its_share_of_lion():
    rising = lion_sgd_arrays([4.0, 2.0, 1.0])  # weights descend
    assert set(verdicts("A7-deviation", rising).values()) == {"holds"}
    assert verdicts("A7-performance", rising) == {"paper": "holds"}
    falling = lion_sgd_arrays([1.0, 2.0, 4.0])
    assert set(verdicts("A7-deviation", falling).values()) == {"does not hold"}
    assert verdicts("A7-performance", falling) == {"paper": "does not hold"}


def noise_arrays(tops: dict[str, float]) -> dict:
    part = {}
    for name, top in tops.items():
        spread = np.array([0.98, 1.0, 1.02]) if name == "lstm" else np.ones(1)
        for field in ("top", "relative_top"):
            part[f"{name}/covariance/{field}"] = spread[:, None] * top * np.ones((1, 4))
    for protocol in ("paper", "released", "corrected"):
        jitter = np.array([[0.01], [-0.01], [0.0]])
        alpha = np.array([1.2, 1.21, 1.19])[:, None] * np.ones((1, 4))
        part[f"lstm/gradient/{protocol}/alpha"] = alpha
        part[f"lstm/gradient/{protocol}/surrogate_alpha"] = alpha + jitter
    return {"noise-leaky-relu": part}


def test_the_order_of_the_top_eigenvalues():
    claim = "A8-spectrum-leaky-relu"
    ordered = noise_arrays({"momentum": 1.0, "adam": 2.0, "lion": 4.0, "lstm": 8.0})
    assert set(verdicts(claim, ordered).values()) == {"holds"}
    swapped = noise_arrays({"momentum": 1.0, "adam": 4.0, "lion": 2.0, "lstm": 8.0})
    assert set(verdicts(claim, swapped).values()) == {"does not hold"}


def test_a_low_alpha_is_not_heavy_where_a_gaussian_has_it_too():
    records = noise_arrays({"momentum": 1.0, "adam": 2.0, "lion": 4.0, "lstm": 8.0})
    found = verdicts("A8-gradients-leaky-relu", records)
    assert (found["paper"], found["corrected"]) == ("holds", "inconclusive")


def test_the_mean_size_of_updates_is_read_off_the_bins():
    edges = np.array([[0.01, 0.1, 1.0]])
    part = {"lstm/edges": edges, "lstm/counts": np.array([[[0, 4], [2, 2], [4, 0]]])}
    np.testing.assert_allclose(statistics.mean_log_size(part, "lstm"), [[-0.5, -1.0, -1.5]])
    first = statistics.first_updates_largest("counts", "x", {"histograms-x": part})
    np.testing.assert_allclose(first, [0.5])
