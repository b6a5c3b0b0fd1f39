"""The eigenvalues of the dynamics while an intervention is turned on (figure 1)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float64
from scipy.optimize import linear_sum_assignment

from optoscope._core.errors import check_count, check_number
from optoscope._core.showing import shown
from optoscope.analysis.quadratic._model import (
    NoisyQuadratic,
    checked_square,
    dynamics_matrix,
)

INTERVENTIONS = ("nominal", "weight decay", "preconditioning", "all")


@shown
@dataclass(frozen=True)
class EigenvalueMaps:
    """How the eigenvalues of A move, for each of `INTERVENTIONS`.

    Args:
        strengths: from 0, without the intervention, to 1, all of it.
        eigenvalues: by intervention; each column follows one eigenvalue.
    """

    strengths: Float64[np.ndarray, " strengths"]
    eigenvalues: dict[str, Complex128[np.ndarray, "strengths n"]]

    @property
    def before(self) -> Complex128[np.ndarray, " n"]:
        """The eigenvalues without any intervention."""
        return self.eigenvalues[INTERVENTIONS[0]][0]

    def spectral_radii(self, intervention: str) -> Float64[np.ndarray, " strengths"]:
        """ρ(A) while an intervention is turned on."""
        return np.abs(self.eigenvalues[intervention]).max(axis=1)


def eigenvalue_maps(
    quadratic: NoisyQuadratic,
    preconditioner: Any,
    *,
    nominal: float,
    weight_decay: float,
    num_strengths: int = 41,
) -> EigenvalueMaps:
    """The eigenvalues of A while each intervention of the paper is turned on.

    Math: at strength s, A = I − H^(−p)(aI + cP) H with a = sα ("nominal"), c = 1 − s·decay
    ("weight decay": what heavy decay leaves of P), p = s/2 ("preconditioning"); "all" turns all
    three at once; the others are then a = 0, c = 1, p = 0.

    Source: paper C, figure 1.

    Args:
        quadratic: gives H.
        preconditioner: P, shape (n, n); not symmetric for eigenvalues off the real line.
        nominal: α at full strength.
        weight_decay: the share of P taken away at full strength, in [0, 1].
        num_strengths: values of s, at least 2.

    Raises:
        InvalidValueError: P is not a finite (n, n) matrix, a share outside [0, 1], fewer than 2
            strengths.

    Example:
        >>> maps = eigenvalue_maps(NoisyQuadratic([[4.0]]), [[-0.5]], nominal=0.75,
        ...                        weight_decay=0.5, num_strengths=2)
        >>> {name: float(values[-1, 0].real) for name, values in maps.eigenvalues.items()}
        {'nominal': 0.0, 'weight decay': 2.0, 'preconditioning': 2.0, 'all': 0.0}
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    check_number("nominal", nominal)
    check_number("weight_decay", weight_decay, minimum=0, maximum=1)
    check_count("num_strengths", num_strengths, minimum=2)
    strengths = np.linspace(0.0, 1.0, num_strengths)
    paths = {}
    for name in INTERVENTIONS:
        path = []
        for strength in strengths:
            on = {key: strength * (name in (key, "all")) for key in INTERVENTIONS[:3]}
            A = dynamics_matrix(
                quadratic,
                (1 - weight_decay * on["weight decay"]) * P,
                nominal * on["nominal"],
                hessian_exponent=on["preconditioning"] / 2,
            )
            values = np.linalg.eigvals(A).astype(np.complex128)
            path.append(_matched(path[-1], values) if path else np.sort_complex(values))
        paths[name] = np.array(path)
    return EigenvalueMaps(strengths, paths)


def _matched(
    previous: Complex128[np.ndarray, " n"], values: Complex128[np.ndarray, " n"]
) -> Complex128[np.ndarray, " n"]:
    """The values in the order that moves them least from `previous`."""
    distances = np.abs(previous[:, None] - values[None, :]) ** 2
    return values[linear_sum_assignment(distances)[1]]
