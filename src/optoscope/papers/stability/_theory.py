"""Parts on the noisy quadratic model, and on the curvatures at which optimizers are stable."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optoscope import optimizers
from optoscope.analysis import quadratic
from optoscope.optimizers import Optimizer
from optoscope.papers._meta_trained import load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.stability._learn import learned, training_of
from optoscope.papers.stability._setting import MAIN, Setting
from optoscope.papers.stability._theory_arrays import (
    figure_1_arrays,
    figure_1_model,
    figure_2a_arrays,
    figure_2bc_arrays,
    stable_curvature_arrays,
)

# Draws of the bounds come in batches, so that there is a spread.
BATCHES = 10
_SIZE = 4
REPEATS = 5
MOMENTA = (0.5, 0.7, 0.9)
_RATE = 0.1


def eigenvalues(setting: Setting) -> Part:
    """Figure 1, and the same interventions on further random examples.

    As `figure_1_arrays`; `examples/before` and `examples/<intervention>` are
    the eigenvalues of other examples, (examples, n).
    """
    count = setting.scale.examples

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        arrays: dict[str, Any] = dict(figure_1_arrays(setting.seed))
        found: dict[str, list[np.ndarray]] = {}
        for example in range(count):
            # The example that is drawn is not among those that are counted.
            model = figure_1_model(1000 * (setting.seed + 1) + example)
            maps = quadratic.eigenvalue_maps(
                model.quadratic,
                model.preconditioner,
                nominal=model.nominal,
                weight_decay=model.weight_decay,
                num_strengths=2,
            )
            found.setdefault("before", []).append(maps.before)
            for name, path in maps.eigenvalues.items():
                found.setdefault(name, []).append(path[-1])
        return arrays | {f"examples/{name}": np.stack(values) for name, values in found.items()}

    return Part("eigenvalues", {"seed": setting.seed, "examples": count}, compute)


def _random_quadratic(draw: np.random.Generator) -> quadratic.NoisyQuadratic:
    basis = _basis(draw)
    curvatures = np.exp(draw.uniform(np.log(0.1), np.log(10.0), _SIZE))
    return quadratic.NoisyQuadratic(_symmetric(basis, curvatures))


def _between(draw: np.random.Generator, low: float, high: float) -> np.ndarray:
    return draw.uniform(low, high, _SIZE)


def _basis(draw: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(draw.standard_normal((_SIZE, _SIZE)))[0]


def _symmetric(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def _theorem(draw: np.random.Generator, symmetric: bool) -> quadratic.StabilityBounds:
    problem = _random_quadratic(draw)
    reach = 2 / problem.largest_curvature
    nominal = draw.uniform(0, reach)
    values = _between(draw, -nominal, reach - nominal)
    if symmetric:
        P = _symmetric(_basis(draw), values)
    else:
        vectors = draw.standard_normal((_SIZE, _SIZE))
        P = vectors @ (values[:, None] * np.linalg.inv(vectors))
    return quadratic.stability_bounds(problem, P, nominal)


def _lemma_2(draw: np.random.Generator) -> quadratic.StabilityBounds:
    problem = _random_quadratic(draw)
    reach = 2 / problem.largest_curvature**0.5
    nominal = draw.uniform(0, reach)
    values = _between(draw, -nominal, reach - nominal)
    P = _symmetric(_basis(draw), values)
    return quadratic.preconditioned_bounds(problem, P, nominal)


def _lemma_3(draw: np.random.Generator) -> quadratic.StabilityBounds:
    problem = _random_quadratic(draw)
    reach = 2 / problem.largest_curvature
    nominal, bound = draw.uniform(0.01, 0.99) * reach, draw.uniform(0.5, 2.0, _SIZE)
    values = _between(draw, -nominal, reach - nominal) / bound.max()
    return quadratic.robust_bounds(problem, np.diag(values), bound, nominal)


_BOUNDS: dict[str, Callable[[np.random.Generator], quadratic.StabilityBounds]] = {
    "theorem-symmetric": lambda draw: _theorem(draw, True),
    "theorem-real": lambda draw: _theorem(draw, False),
    "lemma-2": _lemma_2,
    "lemma-3": _lemma_3,
}


def bounds(setting: Setting) -> Part:
    """True spectral radii of random preconditioners that meet a theorem's bounds.

    For each of `theorem-symmetric`, `theorem-real` (the theorem as printed: diagonalizable with
    real eigenvalues), `lemma-2` and `lemma-3`: `radius` (batches, draws), `share_unstable`.
    """
    draws = setting.scale.bound_draws

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        arrays: dict[str, Any] = {}
        for index, (kind, make) in enumerate(_BOUNDS.items()):
            draw = np.random.default_rng([setting.seed, index])
            radii = np.empty((BATCHES, draws))
            for place in np.ndindex(radii.shape):
                found = make(draw)
                # Rounding can push an eigenvalue over the edge, or off the real line.
                while not found.satisfied:
                    found = make(draw)
                radii[place] = found.spectral_radius
            arrays[f"{kind}/radius"] = radii
            arrays[f"{kind}/share_unstable"] = (radii > 1 + 1e-9).mean(axis=1)
            workspace.report(index + 1, len(_BOUNDS))
        return arrays

    configuration = {"seed": setting.seed, "draws": [BATCHES, draws], "size": _SIZE}
    return Part("bounds", configuration, compute)


def meta_gradient_variance(setting: Setting) -> Part:
    """Figure 2a as `figure_2a_arrays`, and repeats with other seeds.

    `repeats/trace_variance` (repeats, α, T) from a fifth of the runs each, and `lowered_up_to`
    (T,): up to which share of 2/λ_max every α has a smaller variance than α = 0.
    """
    scale = setting.scale
    counts: dict[str, Any] = {"num_nominals": scale.nominals, "horizons": scale.horizons}
    few = max(2, scale.variance_seeds // REPEATS)

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        arrays = figure_2a_arrays(
            setting.seed, num_seeds=scale.variance_seeds, **counts
        )  # fmt: skip
        repeats = []
        for repeat in range(REPEATS):
            workspace.report(repeat + 1, REPEATS + 1)
            again = figure_2a_arrays(1000 * (setting.seed + 1) + repeat, num_seeds=few, **counts)
            repeats.append(again["trace_variance"])
        return arrays | {
            "repeats/trace_variance": np.stack(repeats),
            "lowered_up_to": lowered_up_to(arrays),
        }

    configuration = {"seed": setting.seed, "seeds": [scale.variance_seeds, few], **counts}
    return Part("meta-gradient-variance", configuration, compute)


def lowered_up_to(arrays: Arrays) -> np.ndarray:
    """The share of 2/λ_max up to which all α lower the variance below that at α = 0, for each T."""
    variance, nominals = arrays["trace_variance"], arrays["nominals"]
    # What overflows is no smaller.
    lower = np.nan_to_num(variance[1:], nan=np.inf) < variance[:1]
    first_not = np.where(lower.all(axis=0), len(lower), np.argmin(lower, axis=0))
    return nominals[first_not] / float(arrays["limit"])


def quadratic_meta_training(setting: Setting) -> Part:
    """Figures 2b and 2c, as `figure_2bc_arrays`."""
    scale = setting.scale
    counts: dict[str, Any] = {
        "num_meta_steps": scale.quadratic_meta_steps,
        "num_seeds": scale.quadratic_seeds,
        "record_every": scale.quadratic_every,
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        return figure_2bc_arrays(setting.seed, **counts)

    return Part("quadratic-meta-training", {"seed": setting.seed, **counts}, compute)


def stable_curvature(setting: Setting) -> Part:
    """Joint stability of parameter and state, as `stable_curvature_arrays`.

    Of SGD, momentum, Adam and the first meta-seed of the main arms. These last normalize their
    inputs over a tensor; here a tensor is the one parameter, as in the runs beside.
    """
    name = setting.trained_on[0]
    trained = {arm: learned(setting, name, arm, 1)[0] for arm in setting.measured(name, MAIN)}
    steps = setting.scale.curvature_steps

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        contenders: dict[str, Optimizer] = {"sgd": optimizers.sgd(_RATE)}
        contenders |= {
            f"momentum-{momentum:g}": optimizers.momentum(_RATE, momentum) for momentum in MOMENTA
        }
        contenders["adam"] = optimizers.adam(0.01)
        contenders |= {
            arm: load_learned(needed[part.name], training_of(setting, name, arm))
            for arm, part in trained.items()
        }
        arrays: Arrays = {}
        for index, (label, contender) in enumerate(contenders.items()):
            arrays |= stable_curvature_arrays({label: contender}, num_steps=steps)
            workspace.report(index + 1, len(contenders))
        return arrays

    configuration = {"steps": steps, "rate": _RATE, "momenta": MOMENTA}
    return Part("stable-curvature", configuration, compute, tuple(trained.values()))
