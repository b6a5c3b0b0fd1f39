"""The theory figures of paper C as arrays, ready to be kept in records and drawn."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from optoscope._core.errors import InvalidValueError, check_number, check_seed
from optoscope._core.keys import stream
from optoscope.analysis.quadratic import (
    INTERVENTIONS,
    PAPER_HORIZONS,
    NoisyQuadratic,
    eigenvalue_maps,
    gradient_variance,
    paper_nominals,
    stable_curvature,
)
from optoscope.optimizers import Optimizer
from optoscope.papers.stability._quadratic_meta_training import (
    MetaSettings,
    meta_train,
    paper_meta_nominals,
)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Figure1Model:
    """A problem and a linear learned optimizer that is unstable on it, with what cures it.

    Args:
        quadratic: the problem.
        preconditioner: P, not symmetric.
        nominal: α of the full nominal term.
        weight_decay: the share of P that the full weight decay takes away, in [0, 1].
    """

    quadratic: NoisyQuadratic
    preconditioner: Float64[np.ndarray, "n n"]
    nominal: float
    weight_decay: float


def figure_1_model(seed: int = 0, size: int = 6) -> Figure1Model:
    """An example like that of figure 1, whose numbers the paper does not give.

    H has eigenvalues spread evenly on a logarithmic scale from 0.5 to 5 in a random basis, P is
    a random matrix of independent normal entries: a learned optimizer at the start of
    meta-training, which climbs in some directions and turns in others.

    Args:
        seed: of the random basis and of P.
        size: parameters n, at least 1.
    """
    check_number("size", size, minimum=1)
    generator = np.random.default_rng(check_seed(seed))
    basis, _ = np.linalg.qr(generator.standard_normal((size, size)))
    hessian = (basis * np.geomspace(0.5, 5.0, size)) @ basis.T
    P = 0.5 * generator.standard_normal((size, size)) / size**0.5
    return Figure1Model(NoisyQuadratic((hessian + hessian.T) / 2), P, 0.35, 0.5)


def figure_1_arrays(seed: int = 0, *, size: int = 6, num_strengths: int = 41) -> Arrays:
    """Figure 1: eigenvalues of A while each intervention is turned on.

    Args:
        seed: of the example, `figure_1_model`.
        size: its number of parameters.
        num_strengths: points on each path.

    Returns:
        "strengths" (strengths,); for each of "nominal", "weight decay", "preconditioning" and
        "all" the complex "<name>/eigenvalues" (strengths, n); "nominal" and "weight_decay", the
        example's α and share.
    """
    model = figure_1_model(seed, size)
    maps = eigenvalue_maps(
        model.quadratic,
        model.preconditioner,
        nominal=model.nominal,
        weight_decay=model.weight_decay,
        num_strengths=num_strengths,
    )
    arrays = {f"{name}/eigenvalues": maps.eigenvalues[name] for name in INTERVENTIONS}
    return arrays | {
        "strengths": maps.strengths,
        "nominal": np.asarray(model.nominal),
        "weight_decay": np.asarray(model.weight_decay),
    }


def figure_2a_arrays(
    seed: int = 0,
    *,
    num_nominals: int = 50,
    horizons: tuple[int, ...] = PAPER_HORIZONS,
    num_seeds: int = 500,
) -> Arrays:
    """Figure 2a: the variance of the meta-gradient against α, for every T.

    The defaults are the paper's counts.

    Args:
        seed: of the random numbers.
        num_nominals: values of α in [0, 2/λ_max(H)].
        horizons: values of T.
        num_seeds: runs.

    Returns:
        "nominals" (nominals,), "horizons" (horizons,), "trace_variance" and "standard_error"
        (nominals, horizons), "limit" 2/λ_max(H), "num_seeds".
    """
    quadratic = NoisyQuadratic.paper()
    found = gradient_variance(
        quadratic,
        key=stream(seed, "figure 2a"),
        nominals=paper_nominals(quadratic, num_nominals),
        horizons=horizons,
        num_seeds=num_seeds,
    )
    return {
        "nominals": found.nominals,
        "horizons": np.asarray(found.horizons),
        "trace_variance": found.trace_variance,
        "standard_error": found.standard_error,
        "limit": np.asarray(2 / quadratic.largest_curvature),
        "num_seeds": np.asarray(found.num_seeds),
    }


def figure_2bc_arrays(
    seed: int = 0,
    *,
    num_meta_steps: int = 100_000,
    num_seeds: int = 5,
    record_every: int = 10,
    as_printed: bool = True,
    settings: MetaSettings | None = None,
) -> Arrays:
    """Figures 2b and 2c: |λ(A)| and the meta-loss over meta-training.

    Args:
        seed: of the random numbers.
        num_meta_steps: meta-iterations; the paper speaks of up to 100 times 1000.
        num_seeds: meta-trainings for each α.
        record_every: meta-iterations between records.
        as_printed: how the legend's α is read, see `paper_meta_nominals`.
        settings: of meta-training.

    Returns:
        "nominals" (nominals,), "steps" (records,), "magnitudes" (nominals, seeds, records, n)
        from the largest down, "expected_loss" and "sampled_loss" (nominals, seeds, records),
        "skipped" (nominals, seeds), "preconditioners" at the end (nominals, seeds, n, n).
    """
    quadratic = NoisyQuadratic.paper()
    found = meta_train(
        quadratic,
        key=stream(seed, "figure 2b"),
        nominals=paper_meta_nominals(quadratic, as_printed=as_printed),
        num_meta_steps=num_meta_steps,
        num_seeds=num_seeds,
        record_every=record_every,
        settings=settings,
    )
    return {
        "nominals": found.nominals,
        "steps": found.steps,
        "magnitudes": found.eigenvalue_magnitudes,
        "expected_loss": found.expected_loss,
        "sampled_loss": found.sampled_loss,
        "skipped": found.skipped,
        "preconditioners": found.preconditioners[:, :, -1],
    }


def stable_curvature_arrays(
    optimizers: dict[str, Optimizer],
    *,
    run_curvatures: tuple[float, ...] = tuple(10.0 ** np.arange(-2.0, 3.5, 0.5)),
    num_steps: int = 2000,
) -> Arrays:
    """Section 4.4: ρ of the joint dynamics against curvature, beside what runs do.

    Args:
        optimizers: by name.
        run_curvatures: where to run each of them.
        num_steps: of a run.

    Returns:
        "run_curvatures"; for each optimizer "<name>/curvatures", "<name>/spectral_radii",
        "<name>/intervals" (intervals, 2), "<name>/outcomes" (words), "<name>/final_sizes",
        "<name>/linear_up_to", "<name>/informative".

    Raises:
        InvalidValueError: a name with a slash, which parts the keys.
    """
    arrays: Arrays = {"run_curvatures": np.asarray(run_curvatures)}
    for name, optimizer in optimizers.items():
        if "/" in name:
            raise InvalidValueError(f"the name {name!r} has a slash; slashes part the keys.")
        found = stable_curvature(optimizer, run_curvatures=run_curvatures, num_steps=num_steps)
        arrays |= {
            f"{name}/curvatures": found.curvatures,
            f"{name}/spectral_radii": found.spectral_radii,
            f"{name}/intervals": np.asarray(found.intervals, np.float64).reshape(-1, 2),
            f"{name}/outcomes": np.asarray(found.runs.outcomes),
            f"{name}/final_sizes": found.runs.final_sizes,
            f"{name}/linear_up_to": np.asarray(found.linear_up_to),
            f"{name}/informative": np.asarray(found.informative),
        }
    return arrays
