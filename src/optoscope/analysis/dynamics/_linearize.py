"""The first-order (linear) approximation of an optimizer around one state."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.roots import plain_roots
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, ScalarMap
from optoscope.analysis.dynamics._modes import Modes, modes_of
from optoscope.analysis.dynamics._precision import double_precision

_REALIZABLE = 1e-7


@shown
@dataclasses.dataclass(frozen=True)
class Linearization:
    """A map to first order around (h, g).

    With δ for the distance from there,
    δh' = jacobian δh + input_jacobian δg + residual,
    update = update + readout · (δh' − residual) + direct δg.

    Args:
        jacobian: J = ∂F/∂h.
        input_jacobian: b = ∂F/∂g.
        readout: w, on the next state.
        direct: what the update gets from the gradient beside the state.
        state: h.
        gradient: g.
        update: the update at (h, g).
        residual: F(h, g) − h; zero at a fixed point.
    """

    jacobian: Float[np.ndarray, "size size"]
    input_jacobian: Float[np.ndarray, " size"]
    readout: Float[np.ndarray, " size"]
    direct: float
    state: Float[np.ndarray, " size"]
    gradient: float
    update: float
    residual: Float[np.ndarray, " size"]

    def impulse_response(self, num_steps: int) -> Float[np.ndarray, " steps"]:
        """−∂(update k steps later)/∂g: −w·b − direct, then −w·J^k b.

        Args:
            num_steps: how many, the immediate one included.
        """
        check_count("num_steps", num_steps, minimum=1)
        response, vector = [], self.input_jacobian
        for _ in range(num_steps):
            response.append(-self.readout @ vector)
            vector = self.jacobian @ vector
        response[0] -= self.direct
        return np.array(response)

    def modes(self) -> Modes:
        """Its eigenmodes, each a momentum with a timescale and a learning rate."""
        return modes_of(
            self.jacobian,
            self.input_jacobian,
            self.readout,
            direct=self.direct,
            gradient=self.gradient,
            update=self.update,
        )


@double_precision
def _derivatives(scalar_map: ScalarMap, state: Array, gradient: Array) -> tuple:
    with plain_roots():
        derivatives = jax.jacfwd(scalar_map.step, argnums=(0, 1))(state, gradient)
    (jacobian, input_jacobian), (update_jacobian, slope) = derivatives
    return scalar_map.step(state, gradient), jacobian, input_jacobian, update_jacobian, slope


def linearize(
    coordinates: CoordinateMap, state: Float[np.ndarray, " size"], gradient: float = 0.0
) -> Linearization:
    """The first-order map around one state and gradient.

    Use it at fixed points; elsewhere `residual` says how far the map moves by itself. Where the
    map has a linear readout, that is `readout`; otherwise the readout is the smallest vector w
    with w J equal to the derivative of the update by the state *before* the step.

    Math: J = ∂F/∂h, b = ∂F/∂g, by forward differentiation in float64.

    Source: paper B, section 4.2 and appendix C.

    Args:
        coordinates: the optimizer's map.
        state: h.
        gradient: g.

    Raises:
        InvalidValueError: a state of another size; a derivative that is not finite (Adam and
            RMSProp at a fresh state and zero gradient); an update that depends on a part of the
            state which the step then forgets.

    Example:
        >>> from optoscope import optimizers
        >>> from optoscope.analysis.dynamics import coordinate_map
        >>> linear = linearize(coordinate_map(optimizers.momentum(0.5, 0.75)), np.zeros(1))
        >>> linear.impulse_response(3).round(12).tolist()
        [0.5, 0.375, 0.28125]
    """
    state = np.asarray(state, np.float64)
    check_number("gradient", gradient)
    if state.shape != (coordinates.size,):
        raise InvalidValueError(
            f"a state of shape {state.shape} cannot be linearized at; "
            f"give one vector of {coordinates.size} entries."
        )
    (new, update), jacobian, input_jacobian, update_jacobian, slope = _derivatives(
        coordinates.scalar_map, state, float(gradient)
    )
    derivatives = (jacobian, input_jacobian, update_jacobian, slope)
    if not all(np.isfinite(array).all() for array in derivatives):
        raise InvalidValueError(
            f"the optimizer has no derivative at g = {gradient:g} and this state (the square root "
            "of a second moment of zero, perhaps). Linearize at a state that a run has visited, or "
            "at the fixed point of a gradient other than 0."
        )
    if coordinates.readout is not None:
        readout, direct = coordinates.readout.weights, coordinates.readout.direct
    else:
        readout, *_ = np.linalg.lstsq(jacobian.T, update_jacobian, rcond=1e-12)
        error = np.abs(readout @ jacobian - update_jacobian).max(initial=0.0)
        if error > _REALIZABLE * np.abs(update_jacobian).max(initial=0.0):
            raise InvalidValueError(
                "the update depends on a part of the state that the step forgets, so it is no "
                "linear function of the next state; modes are not defined for this optimizer."
            )
        direct = float(slope - readout @ input_jacobian)
    return Linearization(
        jacobian,
        input_jacobian,
        readout,
        direct,
        state,
        float(gradient),
        float(update),
        new - state,
    )
