"""More of Optax's optimizers, with hyper-parameters that are array leaves."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree
from optax import contrib

from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import select
from optoscope.optimizers._hand_designed import OptaxOptimizer, Scalar, from_optax


def nesterov(learning_rate: Scalar = 0.1, momentum: Scalar = 0.9) -> OptaxOptimizer:
    """Nesterov's momentum: m ← μ m + g, u = −η (g + μ m)."""
    return from_optax(_nesterov, "nesterov", learning_rate=learning_rate, momentum=momentum)


def _nesterov(**hyperparameters: Any) -> optax.GradientTransformation:
    return optax.sgd(nesterov=True, **hyperparameters)


def adamw(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 1e-4,
) -> OptaxOptimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return from_optax(
        optax.adamw,
        "adamw",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        weight_decay=weight_decay,
    )


def lamb(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """LAMB (You et al. 2020): Adam's update, scaled to the norm of each parameter array."""
    return from_optax(
        optax.lamb,
        "lamb",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        weight_decay=weight_decay,
    )


def adafactor(learning_rate: Scalar = 0.01, decay_rate: Scalar = 0.8) -> OptaxOptimizer:
    """Adafactor (Shazeer and Stern 2018), its step scaled by the size of each parameter array.

    Second moments are factored where both sides of a matrix are at least 128 long.
    """
    return from_optax(
        optax.adafactor, "adafactor", learning_rate=learning_rate, decay_rate=decay_rate
    )


def adan(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.98,
    b2: Scalar = 0.92,
    b3: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """Adan (Xie et al. 2022): Nesterov's momentum by differences of gradients."""
    return from_optax(
        optax.adan,
        "adan",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        b3=b3,
        eps=eps,
        weight_decay=weight_decay,
    )


def ademamix(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar = 0.999,
    alpha: Scalar = 5.0,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """AdEMAMix (Pagliardini et al. 2024): Adam with a second, slow momentum of weight α.

    The slow momentum's decay is 0.999 here, for runs of some thousand steps; Optax's default,
    0.9999, is for far longer ones.
    """
    return from_optax(
        contrib.ademamix,
        "ademamix",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        b3=b3,
        alpha=alpha,
        eps=eps,
        weight_decay=weight_decay,
    )


def adopt(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.9999,
    eps: Scalar = 1e-6,
) -> OptaxOptimizer:
    """ADOPT (Taniguchi et al. 2024): Adam that divides by the second moment of earlier steps."""
    return from_optax(contrib.adopt, "adopt", learning_rate=learning_rate, b1=b1, b2=b2, eps=eps)


def muon(
    learning_rate: Scalar = 0.02, beta: Scalar = 0.95, weight_decay: Scalar = 0.0
) -> OptaxOptimizer:
    """Muon (Jordan et al. 2024): momentum that is orthogonalized, for matrices.

    Parameter arrays that are no matrices (vectors, convolution kernels) get Adam with the same
    learning rate.
    """
    return from_optax(
        _muon, "muon", learning_rate=learning_rate, beta=beta, weight_decay=weight_decay
    )


def _muon(**hyperparameters: Any) -> optax.GradientTransformation:
    def matrices(params: PyTree[Array]) -> PyTree:
        # Optax divides by the sides of a matrix; one that holds nothing must not get there.
        def chosen(leaf: Array) -> contrib.MuonDimensionNumbers | None:
            return contrib.MuonDimensionNumbers() if leaf.ndim == 2 and leaf.size else None

        return jax.tree.map(chosen, params)

    return contrib.muon(muon_weight_dimension_numbers=matrices, **hyperparameters)


def prodigy(
    learning_rate: Scalar = 1.0,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    initial_rate: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """Prodigy (Mishchenko and Defazio 2023): Adam that estimates its own learning rate.

    Args:
        learning_rate: a factor of the rate that is estimated; 1 is the authors' advice.
        b1: decay of the first moment.
        b2: decay of the second moment.
        initial_rate: the estimate before the first step.
        weight_decay: decoupled.
    """
    return from_optax(
        _prodigy,
        "prodigy",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        initial_rate=initial_rate,
        weight_decay=weight_decay,
    )


def _prodigy(b1: Any, b2: Any, initial_rate: Any, **others: Any) -> optax.GradientTransformation:
    prodigy = _in_float32(contrib.prodigy(betas=(b1, b2), estim_lr0=initial_rate, **others))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        # Optax divides zero by zero as long as all gradients have been zero.
        silent = (state.count == 0) & (optax.tree.norm(updates) == 0)
        updates, after = prodigy.update(updates, state, params, **extra)
        return select(silent, optax.tree.zeros_like(updates), updates), select(silent, state, after)

    return optax.GradientTransformationExtraArgs(prodigy.init, update)


def sophia(
    learning_rate: Scalar = 0.001,
    b1: Scalar = 0.965,
    b2: Scalar = 0.99,
    eps: Scalar = 1e-8,
    gamma: Scalar = 0.01,
    weight_decay: Scalar = 1e-4,
) -> OptaxOptimizer:
    """Sophia (Liu et al. 2023): momentum over a running diagonal of the Hessian, clipped to ±1.

    Every tenth step estimates the diagonal by a product with a random vector of signs
    (Hutchinson). For that it needs the loss as a function of the parameters, which this library's
    loops hand on; in a loop of your own: `update(grads, state, params, obj_fn=loss)`.

    Raises:
        InvalidValueError: by `update`, without `obj_fn`.
    """
    return from_optax(
        _sophia,
        "sophia",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        gamma=gamma,
        weight_decay=weight_decay,
    )


def _sophia(**hyperparameters: Any) -> optax.GradientTransformation:
    # Optax's branch without a new estimate would have another type than the one with it.
    in_float32: dict[str, Any] = {
        name: jnp.asarray(value, jnp.float32) for name, value in hyperparameters.items()
    }
    transformation = _in_float32(contrib.sophia(**in_float32))

    def update(
        updates: Any, state: Any, params: Any = None, obj_fn: Any = None, **extra: Any
    ) -> tuple[Any, Any]:
        if params is None or obj_fn is None:
            raise InvalidValueError(
                "sophia estimates the curvature of the loss, which it was not given; write "
                "update(grads, state, params, obj_fn=loss), with the loss on this step's batch as "
                "a function of the parameters. Inside optax.chain and the like, put "
                "optimizers.as_optax(optimizer): Optax hands nothing on to what is not its own."
            )
        return transformation.update(updates, state, params, obj_fn=obj_fn, **extra)

    return optax.GradientTransformationExtraArgs(transformation.init, update)


def schedule_free_adamw(
    learning_rate: Scalar = 0.0025,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> OptaxOptimizer:
    """Schedule-free AdamW (Defazio et al. 2024): averages its iterates instead of a schedule.

    It is evaluated at the average, not at the point where gradients are taken.
    """
    return from_optax(
        _schedule_free_adamw,
        "schedule_free_adamw",
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        weight_decay=weight_decay,
    )


def _schedule_free_adamw(**hyperparameters: Any) -> optax.GradientTransformation:
    return _in_float32(contrib.schedule_free_adamw(**hyperparameters))


def _in_float32(
    transformation: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """The transformation on parameters and gradients in float32, with its state in float32.

    Some of Optax's transformations cannot hold parameters of float32 and float64 together.
    """
    inner = optax.with_extra_args_support(transformation)

    def cast(tree: Any) -> Any:
        # A copy, since states that hold the parameters themselves could not be donated.
        return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32, copy=True), tree)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        params = None if params is None else cast(params)
        return inner.update(cast(updates), state, params, **extra)

    return optax.GradientTransformationExtraArgs(lambda params: inner.init(cast(params)), update)
