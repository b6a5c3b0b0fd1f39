"""Branches of fixed points followed over the gradient, around folds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, ScalarMap
from optoscope.analysis.dynamics._fixed_points import kind_of, sorted_eigenvalues
from optoscope.analysis.dynamics._precision import double_precision
from optoscope.analysis.dynamics._solver import find_roots, iterate_forward

_NEWTON_STEPS = 8
_FIRST_STEP, _LEAST_STEP, _LARGEST_STEP = 0.02, 1e-6, 0.3
# Neighboring tangents closer than this cosine: otherwise the step was too long for the bend.
_STRAIGHT = 0.95
_TOLERANCE = 1e-10


@shown
@dataclasses.dataclass(frozen=True)
class Branch:
    """Fixed points along a branch, in the order in which it passes them.

    Args:
        gradients: g at each.
        points: h.
        updates: what the optimizer does there at every step.
        eigenvalues: of ∂F/∂h, the largest first.
        kinds: as in `FixedPoints`.
        residuals: ‖F(h, g) − h‖.
        requested: whether g is one of those asked for; the others lie between.
        jumped: whether the branch was lost just before this point (a jump of F, as a sign input
            makes at 0) and taken up again where forward iteration leads.
    """

    gradients: Float[np.ndarray, " points"]
    points: Float[np.ndarray, "points size"]
    updates: Float[np.ndarray, " points"]
    eigenvalues: Complex[np.ndarray, "points size"]
    kinds: tuple[str, ...]
    residuals: Float[np.ndarray, " points"]
    requested: Bool[np.ndarray, " points"]
    jumped: Bool[np.ndarray, " points"]

    @property
    def stable(self) -> Bool[np.ndarray, " points"]:
        """Whether all eigenvalues are inside the unit circle."""
        return np.abs(self.eigenvalues[:, 0]) < 1


@double_precision
def _correct(
    scalar_map: ScalarMap, guess: Array, tangent: Array, unit: Array
) -> tuple[Array, Array, Array]:
    """Newton on F(h, g) = h within the plane through `guess` across `tangent`.

    The unknowns are (h, s) with g = unit · sinh(s): one step is as good for gradients of 1e-4
    as for those of 1e2.
    """

    def residual(place: Array) -> Array:
        h = place[:-1]
        return scalar_map.step(h, unit * jnp.sinh(place[-1]))[0] - h

    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, _, count = carry
        matrix = jnp.concatenate([jax.jacfwd(residual)(place), tangent[None]])
        values = jnp.append(residual(place), tangent @ (place - guess))
        move = jnp.linalg.solve(matrix, values)
        return place - move, jnp.linalg.norm(move), count + 1

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        place, move, count = carry
        # A last move of this size has left an error of its square; NaN compares as false.
        return (move > 1e-9 * (1 + jnp.linalg.norm(place))) & (count < _NEWTON_STEPS)

    place, _, _ = jax.lax.while_loop(
        unfinished, newton, (guess, jnp.asarray(jnp.inf), jnp.asarray(0))
    )
    return place, jnp.linalg.norm(residual(place)), jax.jacfwd(residual)(place)


class _Follower:
    """One walk along a branch, from a point on it, in one direction."""

    def __init__(self, scalar_map: ScalarMap, targets: np.ndarray, unit: float, max_steps: int):
        self.scalar_map, self.targets, self.unit = scalar_map, targets, unit
        self.max_steps = max_steps
        self.low, self.high = targets.min(), targets.max()
        # Each entry: place (h, s), requested, jumped.
        self.passed: list[tuple[np.ndarray, bool, bool]] = []

    def correct(
        self, guess: np.ndarray, tangent: np.ndarray, reach: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The point of the branch in that plane and the derivatives there, if within reach."""
        place, norm, matrix = _correct(self.scalar_map, guess, tangent, self.unit)
        scale = 1 + np.linalg.norm(place[:-1])
        good = norm <= _TOLERANCE * scale and np.linalg.norm(place - guess) <= reach
        return (place, matrix) if good and np.isfinite(matrix).all() else None

    def tangent(self, matrix: np.ndarray, along: np.ndarray) -> np.ndarray:
        """The unit null vector of the derivatives, pointing as `along` does."""
        vector = np.linalg.svd(matrix)[2][-1]
        return vector if vector @ along >= 0 else -vector

    def cross(self, before: np.ndarray, after: np.ndarray) -> list[np.ndarray] | None:
        """The points at the requested gradients between two places; None if one is missed."""
        start, end = before[-1], after[-1]
        inside = (self.targets - start) * (self.targets - end) <= 0
        inside &= self.targets != start
        found, upright = [], np.eye(len(before))[-1]
        length = float(np.linalg.norm(after - before))
        for target in sorted(self.targets[inside], reverse=bool(end < start)):
            guess = before + (target - start) / (end - start) * (after - before)
            guess[-1] = target
            result = self.correct(guess, upright, length)
            if result is None:
                return None
            # Newton moves s by rounding; the gradient asked for is the one wanted.
            result[0][-1] = target
            found.append(result[0])
        return found

    def jump(self, place: np.ndarray, direction: float) -> np.ndarray | None:
        """The point that forward iteration reaches at the next requested gradient."""
        ahead = self.targets[(self.targets - place[-1]) * direction > 1e-12]
        if len(ahead) == 0:
            return None
        target = ahead[np.argmin(np.abs(ahead - place[-1]))]
        gradient = float(self.unit * np.sinh(target))
        state = iterate_forward(self.scalar_map, place[None, :-1], gradient, 1000)
        if not np.isfinite(state).all():
            return None
        roots = find_roots(self.scalar_map, state, gradient, tolerance=1e-12, max_steps=120)
        return np.append(roots.points[0], target) if roots.converged[0] else None

    def advance(
        self, place: np.ndarray, tangent: np.ndarray, length: float
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]] | None:
        """One step: the new place, its tangent, and what was asked for on the way."""
        result = self.correct(place + length * tangent, tangent, length)
        if result is None:
            return None
        new_tangent = self.tangent(result[1], tangent)
        if new_tangent @ tangent < _STRAIGHT:
            return None
        crossed = self.cross(place, result[0])
        return None if crossed is None else (result[0], new_tangent, crossed)

    def depart(self, place: np.ndarray, direction: float) -> np.ndarray | None:
        """The tangent with which to leave a place toward larger or smaller gradients."""
        upright = np.eye(len(place))[-1]
        result = self.correct(place, upright, np.inf)
        return None if result is None else self.tangent(result[1], direction * upright)

    def walk(self, place: np.ndarray, direction: float) -> None:
        """Follows the branch until it leaves the range of gradients or the steps run out."""
        origin, length = place, _FIRST_STEP
        tangent = self.depart(place, direction)
        for count in range(self.max_steps):
            if tangent is None:
                return
            taken = self.advance(place, tangent, length)
            if taken is not None:
                place, tangent, crossed = taken
                self.passed += [(point, True, False) for point in crossed]
                closed = count > 2 and np.linalg.norm(place - origin) < length / 2
                if closed or not self.low <= place[-1] <= self.high:
                    return
                if not np.isin(place[-1], self.targets):
                    self.passed.append((place, False, False))
                length = min(1.4 * length, _LARGEST_STEP)
                continue
            length /= 2
            if length < _LEAST_STEP:
                direction = float(np.sign(tangent[-1])) or direction
                landed = self.jump(place, direction)
                if landed is None:
                    return
                self.passed.append((landed, True, True))
                place, length = landed, _FIRST_STEP
                tangent = self.depart(place, direction)


def continue_fixed_points(
    coordinates: CoordinateMap,
    gradients: Float[np.ndarray, " gradients"],
    start: Float[np.ndarray, " size"],
    *,
    start_gradient: float = 0.0,
    max_steps: int = 2000,
) -> Branch:
    """Follows one branch of fixed points over a range of gradients, through folds.

    From the fixed point nearest to `start` it walks both ways (pseudo-arclength continuation), so
    an S-curve that turns back is followed around its folds and a gradient can be met several
    times, stable and unstable. Where F jumps, the walk goes on from where forward iteration
    leads, and says so. Call it once for each fixed point at `start_gradient` to get all branches
    through them.

    Source: paper B, section 4.5 and figure 6, which solves at each gradient separately.

    Args:
        coordinates: the optimizer's map.
        gradients: g to have a point at, in any order; the walk ends beyond the outermost.
        start: near a fixed point.
        start_gradient: the gradient of that fixed point, within the range.
        max_steps: attempted steps in each direction.

    Raises:
        InvalidValueError: an optimizer without state, a start of another size or that leads to
            no fixed point, fewer than two gradients, or a start outside their range.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map
        >>> momentum = coordinate_map(optimizers.momentum(0.5, 0.75))
        >>> branch = continue_fixed_points(momentum, np.array([-1.0, 0.0, 2.0]), np.zeros(1))
        >>> (branch.points[branch.requested].ravel() + 0.0).round(9).tolist()
        [-4.0, 0.0, 8.0]
    """
    coordinates.check_has_state("fixed points")
    start = np.asarray(start, np.float64)
    gradients = np.unique(np.asarray(gradients, np.float64))
    check_count("max_steps", max_steps, minimum=1)
    if start.shape != (coordinates.size,):
        raise InvalidValueError(f"start has shape {start.shape}; it must be ({coordinates.size},).")
    if len(gradients) < 2 or not np.isfinite(gradients).all():
        raise InvalidValueError(f"gradients are {gradients}; give two or more finite numbers.")
    check_number("start_gradient", start_gradient, minimum=gradients[0], maximum=gradients[-1])
    scalar_map = coordinates.scalar_map
    roots = find_roots(
        scalar_map, start[None], float(start_gradient), tolerance=1e-12, max_steps=200
    )
    if not roots.converged[0]:
        raise InvalidValueError(
            f"start leads to no fixed point at gradient {start_gradient:g} "
            f"(‖F(h, g) − h‖ stays at {roots.residuals[0]:.1e}); take one from fixed_points."
        )
    unit = float(np.abs(gradients[gradients != 0]).min())
    targets = np.arcsinh(gradients / unit)
    origin = np.append(roots.points[0], np.arcsinh(start_gradient / unit))
    walks = []
    for direction in (-1.0, 1.0):
        follower = _Follower(scalar_map, targets, unit, max_steps)
        follower.walk(origin, direction)
        walks.append(follower.passed)
    passed = [
        *reversed(walks[0]),
        (origin, bool(np.isclose(targets, origin[-1], rtol=0, atol=1e-12).any()), False),
        *walks[1],
    ]
    return _branch(scalar_map, passed, gradients, unit)


def _branch(
    scalar_map: ScalarMap,
    passed: list[tuple[np.ndarray, bool, bool]],
    asked: np.ndarray,
    unit: float,
) -> Branch:
    points = np.array([place[:-1] for place, _, _ in passed])
    requested = np.array([wanted for _, wanted, _ in passed])
    gradients = unit * np.sinh([place[-1] for place, _, _ in passed])
    nearest = asked[np.abs(gradients[:, None] - asked).argmin(axis=1)]
    gradients = np.where(requested, nearest, gradients)
    residuals, matrices, updates = _at_each(scalar_map, points, gradients)
    eigenvalues = sorted_eigenvalues(matrices)
    return Branch(
        gradients,
        points,
        updates,
        eigenvalues,
        tuple(kind_of(values) for values in eigenvalues),
        residuals,
        requested,
        np.array([jumped for _, _, jumped in passed]),
    )


@double_precision
def _at_each(scalar_map: ScalarMap, points: Array, gradients: Array) -> tuple:
    def one(point: Array, gradient: Array) -> tuple[Array, Array, Array]:
        new, update = scalar_map.step(point, gradient)
        jacobian = jax.jacfwd(lambda h: scalar_map.step(h, gradient)[0])(point)
        return jnp.linalg.norm(new - point), jacobian, update

    return jax.vmap(one)(points, gradients)
