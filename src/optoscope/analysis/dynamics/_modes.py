"""Eigenmodes of a linearized optimizer: timescales and learning rates."""

import dataclasses

import numpy as np
from jaxtyping import Complex, Float

from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.showing import shown

# Beyond this condition number learning rates lose more digits than float32 has.
_WELL_CONDITIONED = 1e8


@shown
@dataclasses.dataclass(frozen=True)
class Modes:
    """The eigenmodes of a linearized optimizer, the one with the largest share first.

    Mode j is a momentum: v ← β_j v + g, update −α_j v. Conjugate pairs stand side by side.

    Args:
        timescales: β_j, the eigenvalues of J.
        learning_rates: α_j = −(w · r_j)(l_j · b).
        right: right eigenvectors r_j, in columns.
        left: left eigenvectors l_j, in columns; leftᵀ right = 1.
        condition: the condition number of `right` with columns of unit norm. Infinite or beyond
            1e8, J is (nearly) defective: timescales hold, learning rates do not.
        direct: the learning rate of what has no memory; 0 where updates are read from the state.
        gradient: the gradient g* that the map was linearized at.
        update: the update there.
    """

    timescales: Complex[np.ndarray, " modes"]
    learning_rates: Complex[np.ndarray, " modes"]
    right: Complex[np.ndarray, "size modes"]
    left: Complex[np.ndarray, "size modes"]
    condition: float
    direct: float = 0.0
    gradient: float = 0.0
    update: float = 0.0

    @property
    def well_conditioned(self) -> bool:
        """Whether the learning rates can be trusted."""
        return self.condition < _WELL_CONDITIONED

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The indices of each real mode and of each conjugate pair, in order."""
        return _groups(self.timescales)

    @property
    def shares(self) -> Float[np.ndarray, " modes"]:
        """The share of each mode in the size of the impulse response; the shares sum to 1.

        Math: Σ_k |α_j β_j^k| = |α_j| / (1 − |β_j|), with 1 − |β_j| at least 1e-9.
        """
        weights = _weights(self.timescales, self.learning_rates)
        total = weights.sum()
        return weights / total if total > 0 else weights

    def impulse_response(self, num_steps: int) -> Float[np.ndarray, " steps"]:
        """Σ_j α_j β_j^k for k = 0, 1, …; `direct` adds to the first.

        Args:
            num_steps: how many.
        """
        check_count("num_steps", num_steps, minimum=1)
        powers = self.timescales[None, :] ** np.arange(num_steps)[:, None]
        response = (powers @ self.learning_rates).real
        response[0] += self.direct
        return response


def _weights(timescales: np.ndarray, learning_rates: np.ndarray) -> Float[np.ndarray, " modes"]:
    return np.abs(learning_rates) / np.maximum(1 - np.abs(timescales), 1e-9)


def _groups(timescales: np.ndarray) -> tuple[tuple[int, ...], ...]:
    groups, index = [], 0
    while index < len(timescales):
        width = 1 if timescales[index].imag == 0 else 2
        groups.append(tuple(range(index, index + width)))
        index += width
    return tuple(groups)


def modes_of(
    jacobian: Float[np.ndarray, "size size"],
    input_jacobian: Float[np.ndarray, " size"],
    readout: Float[np.ndarray, " size"],
    *,
    direct: float = 0.0,
    gradient: float = 0.0,
    update: float = 0.0,
) -> Modes:
    """The eigenmodes of h' = J h + b g, update = w·h'.

    Timescales and learning rates do not depend on the basis of h: Σ_j α_j = −w·b, and the
    impulse response −w·J^k b = Σ_j α_j β_j^k.

    Source: paper B, appendix C, whose α_j lacks the factor of the readout and whose eigenvectors
    of unit norm make it depend on the basis.

    Args:
        jacobian: J.
        input_jacobian: b.
        readout: w.
        direct: the coefficient of g in the update.
        gradient: where J was taken, kept for the reader.
        update: the update there, likewise.

    Raises:
        InvalidValueError: entries that are not finite.

    Example:
        >>> modes = modes_of(np.diag([0.5, 0.9]), np.ones(2), np.array([-0.2, -0.1]))
        >>> modes.timescales.real.tolist(), modes.learning_rates.real.tolist()
        ([0.9, 0.5], [0.1, 0.2])
    """
    if not all(np.isfinite(array).all() for array in (jacobian, input_jacobian, readout)):
        raise InvalidValueError("a linearization with entries that are not finite has no modes.")
    # Real matrices come back as real arrays where all eigenvalues are.
    timescales, right = (
        array.astype(np.complex128) for array in np.linalg.eig(np.asarray(jacobian, np.float64))
    )
    singular = np.linalg.svd(right, compute_uv=False)
    singular = singular if singular.size else np.ones(1)
    condition = float(singular[0] / singular[-1]) if singular[-1] > 0 else np.inf
    # An inverse of eigenvectors that are the same to rounding would be noise, or fail.
    inverse = np.linalg.inv(right) if condition < 1e15 else np.linalg.pinv(right)
    left = inverse.T
    learning_rates = -(readout @ right) * (input_jacobian @ left)
    weights = _weights(timescales, learning_rates)
    groups = sorted(_groups(timescales), key=lambda group: -max(weights[list(group)]))
    order = [index for group in groups for index in group]
    return Modes(
        timescales[order],
        learning_rates[order],
        right[:, order],
        left[:, order],
        condition,
        0.0 - direct,
        gradient,
        update,
    )
