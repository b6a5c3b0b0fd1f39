"""STAR: a learned optimizer with a nominal descent term and a preconditioned black box."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_number
from optoscope.optimizers._base import OptimizerModule, Packed
from optoscope.optimizers._exponential import LOG2_E, times_power_of_two
from optoscope.optimizers._small_network import Coordinates, SmallNetwork, SmallState


def _mean(momenta: tuple[Array, ...]) -> Array:
    return sum(momenta[1:], momenta[0]) * (1 / len(momenta))


# The direction ĝ of the nominal term, by name.
NOMINAL_TERMS: dict[str, Callable[[Coordinates], Array]] = {
    "sgd": lambda at: at.gradient,
    "momentum": lambda at: at.momenta[0],
    "aggmo": lambda at: _mean(at.momenta),
    "adam": lambda at: at.momenta[0] * at.preconditioner,
    "aggmo-adam": lambda at: _mean(at.momenta) * at.preconditioner,
}
# Which terms each arm of the paper's comparison has: (black box, nominal, preconditioning).
ARMS = {
    "hyperparam": (False, "aggmo-adam", False),
    "blackbox": (True, "none", False),
    "star": (True, "aggmo-adam", True),
}


class StarOptimizer(OptimizerModule):
    """A small perceptron whose update is a descent step plus a learned correction.

    Use it where a learned optimizer must run far past the horizon it was meta-trained at; the
    arms "hyperparam" and "blackbox" are the paper's comparisons, the same network with one of
    the two terms.

    Math: p ← p − b − u with the outputs d, a (black box) and n (nominal magnitude);
    b = β₃·d·exp(β₄·a)·(v+1e-6)^(-1/2), the last factor only with preconditioning;
    u = β₁·exp(β₂·n)·ĝ. ĝ by name: "sgd" g, "momentum" m_1, "aggmo" mean_k m_k, and the last two
    times (v+1e-6)^(-1/2): "adam", "aggmo-adam". Only the heads in use exist. A learned nominal
    scale is one more meta-parameter φ, zero at start, with β₁ times exp(φ).

    Source: paper C, section 5. 202 meta-parameters with everything on, 203 with a learned
    nominal scale. The weight decay that the paper varies belongs to the meta-optimizer; it is
    not part of this module. On which leaves: those of rank 2, see `SmallNetwork`.

    Example:
        >>> import jax
        >>> def count(**options):
        ...     optimizer = StarOptimizer.create(jax.random.key(0), **options)
        ...     return sum(leaf.size for leaf in jax.tree.leaves(optimizer))
        >>> count(), count(learned_nominal_scale=True), count(arm="blackbox")
        (202, 203, 197)
    """

    network: SmallNetwork
    log_nominal_scale: Float[Array, ""] | None
    blackbox: bool = eqx.field(static=True)
    nominal: str = eqx.field(static=True)
    preconditioning: bool = eqx.field(static=True)
    nominal_scale: float = eqx.field(static=True)
    nominal_exponent_scale: float = eqx.field(static=True)
    blackbox_scale: float = eqx.field(static=True)
    blackbox_exponent_scale: float = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        arm: str = "star",
        nominal: str | None = None,
        preconditioning: bool | None = None,
        learned_nominal_scale: bool = False,
        nominal_scale: float | int = 1e-3,
        nominal_exponent_scale: float | int = 1e-3,
        blackbox_scale: float | int = 1e-3,
        blackbox_exponent_scale: float | int = 1e-3,
    ) -> "StarOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            arm: "star", "blackbox" (no nominal term) or "hyperparam" (no black box).
            nominal: "sgd", "momentum", "aggmo", "adam", "aggmo-adam", or "none"; the arm's own
                if not given.
            preconditioning: whether the black box is preconditioned; the arm's own if not given.
            learned_nominal_scale: whether β₁ is a meta-parameter.
            nominal_scale: β₁, positive.
            nominal_exponent_scale: β₂, not negative.
            blackbox_scale: β₃, positive.
            blackbox_exponent_scale: β₄, not negative.

        Raises:
            UnknownNameError: no such arm or nominal term.
            InvalidValueError: options that contradict the arm, or a scale outside its domain.
        """
        if arm not in ARMS:
            raise UnknownNameError("arm", str(arm), ARMS)
        blackbox, default_nominal, default_preconditioning = ARMS[arm]
        nominal = default_nominal if nominal is None else nominal
        if preconditioning is None:
            preconditioning = default_preconditioning
        if nominal not in (*NOMINAL_TERMS, "none"):
            raise UnknownNameError("nominal term", str(nominal), (*NOMINAL_TERMS, "none"))
        has_nominal = nominal != "none"
        if arm == "blackbox" and has_nominal:
            raise InvalidValueError(
                f'the arm "blackbox" has no nominal term, but nominal is {nominal!r}; '
                'for both terms write arm="star".'
            )
        if not blackbox and (not has_nominal or preconditioning):
            raise InvalidValueError(
                'the arm "hyperparam" is its nominal term and has no black box to precondition; '
                f"got nominal {nominal!r} and preconditioning {preconditioning}. "
                'Write arm="star" for these.'
            )
        if learned_nominal_scale and not has_nominal:
            raise InvalidValueError("learned_nominal_scale is True, but there is no nominal term.")
        check_number("nominal_scale", nominal_scale, minimum=0, exclusive_minimum=True)
        check_number("nominal_exponent_scale", nominal_exponent_scale, minimum=0)
        check_number("blackbox_scale", blackbox_scale, minimum=0, exclusive_minimum=True)
        check_number("blackbox_exponent_scale", blackbox_exponent_scale, minimum=0)
        return cls(
            SmallNetwork.create(key, 2 * blackbox + has_nominal),
            jnp.zeros(()) if learned_nominal_scale else None,
            blackbox,
            nominal,
            bool(preconditioning),
            float(nominal_scale),
            float(nominal_exponent_scale),
            float(blackbox_scale),
            float(blackbox_exponent_scale),
        )

    def init(self, params: PyTree[ArrayLike]) -> SmallState:
        """A state in which all averages are zero."""
        return self.network.init(params)

    def init_packed(self, params: PyTree[ArrayLike]) -> Packed:
        """The same with small tensors side by side."""
        return self.network.init_packed(params)

    def update(
        self,
        grads: PyTree[ArrayLike],
        state: SmallState | Packed,
        params: PyTree | None = None,
        **extra,
    ) -> tuple[PyTree[Array], SmallState | Packed]:
        """The updates (in the gradients' types) and the next state; `params` is needed."""
        scale = jnp.asarray(self.nominal_scale, self.network.input_weights.dtype)
        if self.log_nominal_scale is not None:
            scale = scale * jnp.exp(self.log_nominal_scale)

        def rule(at: Coordinates) -> Array:
            terms = []
            if self.blackbox:
                step, magnitude = at.outputs[:2]
                if self.preconditioning:
                    step = step * at.preconditioner
                terms.append(times_power_of_two(step, magnitude))
            if self.nominal != "none":
                step = scale * NOMINAL_TERMS[self.nominal](at)
                terms.append(times_power_of_two(step, at.outputs[-1]))
            return -sum(terms[1:], terms[0])

        scales = []
        if self.blackbox:
            scales += [self.blackbox_scale, self.blackbox_exponent_scale * LOG2_E]
        if self.nominal != "none":
            scales += [self.nominal_exponent_scale * LOG2_E]
        return self.network.update(grads, state, params, rule, scales)

    @property
    def registered_name(self) -> str:
        """The name in the registry, "star"."""
        return "star"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create`, the arm's defaults spelled out."""
        with_blackbox = "blackbox" if self.nominal == "none" else "star"
        return {
            "arm": with_blackbox if self.blackbox else "hyperparam",
            "nominal": self.nominal,
            "preconditioning": self.preconditioning,
            "learned_nominal_scale": self.log_nominal_scale is not None,
            "nominal_scale": self.nominal_scale,
            "nominal_exponent_scale": self.nominal_exponent_scale,
            "blackbox_scale": self.blackbox_scale,
            "blackbox_exponent_scale": self.blackbox_exponent_scale,
        }
