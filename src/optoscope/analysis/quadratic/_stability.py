"""Theorem 1 and lemmas 2 and 3: bounds on P that keep the dynamics stable, and when they apply."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.showing import shown
from optoscope.analysis.quadratic._model import (
    Matrix,
    NoisyQuadratic,
    checked_square,
    dynamics_matrix,
    is_symmetric,
    spectral_radius,
)

# Relative to the bounds: P = −α I lies on the lower one, and rounding must not decide.
_ROUNDING = 1e-10
_MOST_CORNERS = 12


@shown
@dataclass(frozen=True)
class StabilityBounds:
    """Whether a sufficient condition on P is satisfied, and whether the dynamics are stable.

    Args:
        source: the theorem or lemma.
        lower: what the eigenvalues of P must not fall below.
        upper: what they must not exceed.
        smallest: the smallest eigenvalue of P; of complex ones the smallest real part.
        largest: the largest, likewise.
        satisfied: whether `lower ≤ smallest` and `largest ≤ upper`, up to rounding. Says
            something about stability only if the condition `applies`.
        outside: why the condition does not apply; empty if it does.
        spectral_radius: the true ρ(A), whether or not it applies. For lemma 3 the largest found
            over the disturbances.
    """

    source: str
    lower: float
    upper: float
    smallest: float
    largest: float
    satisfied: bool
    outside: tuple[str, ...]
    spectral_radius: float

    @property
    def applies(self) -> bool:
        """Whether the assumptions hold, so that `satisfied` implies ρ(A) ≤ 1."""
        return not self.outside

    @property
    def guaranteed(self) -> bool:
        """Whether the condition applies and is satisfied: ρ(A) ≤ 1 is proved."""
        return self.applies and self.satisfied

    @property
    def stable(self) -> bool:
        """Whether ρ(A) ≤ 1 in truth, up to rounding."""
        return self.spectral_radius <= 1 + _ROUNDING


def _bounds(
    source: str, limits: tuple[float, float], P: Matrix, outside: list[str], radius: float
) -> StabilityBounds:
    lower, upper = limits
    values = np.linalg.eigvalsh(P) if is_symmetric(P) else np.linalg.eigvals(P)
    smallest, largest = float(values.real.min()), float(values.real.max())
    slack = _ROUNDING * max(abs(lower), abs(upper), float(np.abs(P).max()))
    satisfied = bool(
        lower - slack <= smallest and largest <= upper + slack and np.isrealobj(values)
    )
    return StabilityBounds(
        source, lower, upper, smallest, largest, satisfied, tuple(outside), radius
    )


def _objections(P: Matrix, nominal: float) -> list[str]:
    outside = []
    if not is_symmetric(P):
        kind = "real" if np.isrealobj(np.linalg.eigvals(P)) else "complex"
        outside.append(
            f"P is not symmetric (its eigenvalues are {kind}); the bounds on eigenvalues say "
            "nothing then, although the paper asks for real ones only."
        )
    if nominal < 0:
        outside.append(f"the nominal step α is {nominal:g}; it must not be negative.")
    return outside


def stability_bounds(
    quadratic: NoisyQuadratic, preconditioner: Any, nominal: float = 0.0
) -> StabilityBounds:
    """Theorem 1: eigenvalues of P between which ρ(A) ≤ 1.

    Math: for symmetric P and α ≥ 0, −α ≤ λ_min(P) and λ_max(P) ≤ 2/λ_max(H) − α imply
    ρ(I − (αI + P) H) ≤ 1. Then αI + P has a square root, and (αI + P) H has the eigenvalues of
    (αI + P)^½ H (αI + P)^½, which lie in [0, λ_max(αI + P) λ_max(H)].

    Source: paper C, theorem 1, equations 9 and 10. The paper asks only that P be diagonalizable
    with real eigenvalues. With that it is false: its proof bounds the eigenvalues of a product by
    the product of eigenvalues, which needs both factors symmetric. The example below is such a
    P: within the bounds, and ρ(A) is above 2. Here a P that is not symmetric is reported as
    outside the theorem. The condition is sufficient, not necessary.

    Args:
        quadratic: gives H.
        preconditioner: P, shape (n, n).
        nominal: α.

    Returns:
        The bounds, whether they are met and apply, and the true ρ(A).

    Raises:
        InvalidValueError: P is not a finite (n, n) matrix or α not finite.

    Example:
        >>> quadratic = NoisyQuadratic([[1.0, 0.5], [0.5, 1.0]])
        >>> inside = stability_bounds(quadratic, 0.5 * np.eye(2), 0.25)
        >>> inside.upper, inside.guaranteed, round(inside.spectral_radius, 3)
        (1.0833333333333333, True, 0.625)
        >>> slip = stability_bounds(quadratic, [[1.0, -8.0], [0.0, 0.5]], 0.25)
        >>> slip.satisfied, slip.applies, round(slip.spectral_radius, 3)
        (True, False, 2.545)
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    radius = spectral_radius(dynamics_matrix(quadratic, P, nominal))
    limits = -nominal, 2 / quadratic.largest_curvature - nominal
    return _bounds("theorem 1", limits, P, _objections(P, nominal), radius)


def preconditioned_bounds(
    quadratic: NoisyQuadratic, preconditioner: Any, nominal: float = 0.0
) -> StabilityBounds:
    """Lemma 2: the bounds when the whole update is preconditioned by H^(−½).

    Math: A = I − H^(−½) (αI + P) H; the lower bound −α stays, the upper one becomes
    2/√λ_max(H) − α, which is looser if λ_max(H) > 1.

    Source: paper C, lemma 2, equation 13. The paper's proof passes to H^(−½) P H^(½), which is
    not symmetric, and bounds that by theorem 1. The result stands for symmetric P by another
    way: H^(−½)(αI + P) H is similar to (αI + P) H^(½), so theorem 1 applies with H^(½) as the
    Hessian. For other P it is false, as theorem 1 is, and so marked.

    Args:
        quadratic: gives H.
        preconditioner: P, shape (n, n).
        nominal: α.

    Returns:
        The bounds, whether they are met and apply, and the true ρ(A).

    Raises:
        InvalidValueError: P is not a finite (n, n) matrix or α not finite.

    Example:
        >>> found = preconditioned_bounds(NoisyQuadratic([[4.0]]), [[0.75]], 0.25)
        >>> found.upper, found.guaranteed, found.spectral_radius
        (0.75, True, 1.0)
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    A = dynamics_matrix(quadratic, P, nominal, hessian_exponent=0.5)
    limits = -nominal, 2 / quadratic.largest_curvature**0.5 - nominal
    return _bounds("lemma 2", limits, P, _objections(P, nominal), spectral_radius(A))


def robust_bounds(
    quadratic: NoisyQuadratic,
    preconditioner: Any,
    disturbance_bound: Any,
    nominal: float,
    *,
    disturbance: Any | None = None,
) -> StabilityBounds:
    """Lemma 3: the bounds when P = Δ P̃ with an unknown diagonal Δ.

    Math: with 0 < d_i ≤ d̄_i and 0 < α < 2/λ_max(H): −α/max d̄ ≤ λ_min(P̃) and
    λ_max(P̃) ≤ (2/λ_max(H) − α)/max d̄ imply ρ(I − (αI + Δ P̃) H) ≤ 1.

    Source: paper C, lemma 3, equations 15 to 17. It assumes that P̃ and Δ are simultaneously
    diagonalizable. For every Δ of the box at once that means a diagonal P̃, which is asked for
    here unless one Δ is given; then P̃ must be symmetric and commute with it. For a symmetric P̃
    that does not commute the bounds are not enough: random cases reach radii above 1.

    Args:
        quadratic: gives H.
        preconditioner: P̃, shape (n, n).
        disturbance_bound: d̄, one number or shape (n,), positive.
        nominal: α.
        disturbance: the diagonal of one Δ, shape (n,), within the bound; without it, all.

    Returns:
        The bounds, whether they are met and apply, and the true radius. For all Δ this is the
        largest over the corners of the box. For a diagonal P̃ no Δ inside it has a larger one;
        for others it is what was found. With more than 12 parameters only the corners that can
        matter to a diagonal P̃ are looked at.

    Raises:
        InvalidValueError: P̃, d̄, α or Δ cannot be used.

    Example:
        >>> found = robust_bounds(NoisyQuadratic([[1.0]]), [[0.5]], 2.0, 0.5)
        >>> found.upper, found.guaranteed, found.spectral_radius
        (0.75, True, 0.5)
    """
    P = checked_square("preconditioner", preconditioner, quadratic.size)
    bound = _checked_bound(disturbance_bound, len(P))
    largest = float(bound.max())
    reach = 2 / quadratic.largest_curvature
    outside = _objections(P, max(nominal, 0.0))
    if not 0 < nominal < reach:
        outside.append(f"the nominal step α is {nominal:g}; it must be inside (0, {reach:g}).")
    if disturbance is None:
        if np.count_nonzero(P - np.diag(np.diag(P))):
            outside.append("P̃ is not diagonal, so it does not commute with every Δ.")
        diagonals: Any = _corners(P, bound)
    else:
        one = _checked_disturbance(disturbance, bound)
        scale = largest * float(np.abs(P).max())
        if np.abs(one[:, None] * P - P * one).max() > _ROUNDING * scale:
            outside.append("P̃ does not commute with Δ.")
        diagonals = [one]
    radius = max(
        spectral_radius(dynamics_matrix(quadratic, diagonal[:, None] * P, nominal))
        for diagonal in diagonals
    )
    limits = -nominal / largest, (reach - nominal) / largest
    return _bounds("lemma 3", limits, P, outside, radius)


def _checked_bound(bound: Any, size: int) -> Float[np.ndarray, " n"]:
    bound = np.asarray(bound, np.float64)
    if bound.shape not in ((), (size,)):
        raise InvalidValueError(
            f"disturbance_bound has shape {bound.shape}; it must be one number or ({size},)."
        )
    for value in np.ravel(bound):
        check_number("disturbance_bound", float(value), minimum=0, exclusive_minimum=True)
    return np.broadcast_to(bound, (size,))


def _checked_disturbance(
    disturbance: Any, bound: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    one = np.asarray(disturbance, np.float64)
    if one.shape != bound.shape or not ((one > 0) & (one <= bound)).all():
        raise InvalidValueError(
            f"disturbance is {one}; it must have shape {bound.shape}, be positive and at most "
            f"{bound}."
        )
    return one


def _corners(P: Matrix, bound: Float[np.ndarray, " n"]) -> Iterator[Float[np.ndarray, " n"]]:
    """Corners of the closed box; for a diagonal P̃ the first two are the extreme ones.

    αI + ΔP̃ grows with every entry, so its extremes have d_i at 0 or d̄_i by the sign of p̃_i,
    and the eigenvalues of A move with it monotonically.
    """
    yield np.where(np.diag(P) > 0, bound, 0.0)
    yield np.where(np.diag(P) < 0, bound, 0.0)
    if len(P) <= _MOST_CORNERS:
        for corner in itertools.product((0.0, 1.0), repeat=len(P)):
            yield np.asarray(corner) * bound
