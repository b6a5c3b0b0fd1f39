"""A learned optimizer as a building block of Optax's: the direction, without sign and rate."""

from pathlib import Path
from typing import Any

import jax
import optax
from jaxtyping import Array, PyTree

from optoscope.optimizers._base import Optimizer, OptimizerModule
from optoscope.optimizers._files import load


def scale_by_learned(
    optimizer: str | Path | OptimizerModule,
) -> optax.GradientTransformationExtraArgs:
    """Turns gradients into a learned optimizer's direction, as `optax.scale_by_adam` does Adam's.

    Put it where `scale_by_adam` would stand: gradient clipping before it, decoupled weight decay
    and the learning rate after it. A rate of 1 takes the steps that the optimizer was
    meta-trained to take; a schedule multiplies them.

    Math: minus the optimizer's update. So `optax.chain(scale_by_learned(o),
    optax.scale_by_learning_rate(1.0))` is `o` itself.

    Args:
        optimizer: what `optimizers.load` takes (a pretrained name, a folder, a run), or an
            optimizer that is there already.

    Raises:
        UnknownNameError: neither a folder nor a name; the message suggests the nearest names.
        FileFormatError: the folder's files do not hold an optimizer.

    Example:
        >>> import jax.numpy as jnp
        >>> from optoscope import optimizers
        >>> transformation = optax.chain(
        ...     optax.clip_by_global_norm(1.0),
        ...     scale_by_learned(optimizers.sgd(0.5)),
        ...     optax.add_decayed_weights(0.1),
        ...     optax.scale_by_learning_rate(2.0),
        ... )
        >>> params = jnp.asarray([1.0])
        >>> updates, _ = transformation.update(3 * params, transformation.init(params), params)
        >>> round(float(updates[0]), 6)  # −2 · (0.5 · 1 + 0.1 · 1)
        -1.2
    """
    chosen: Optimizer = optimizer if isinstance(optimizer, OptimizerModule) else load(optimizer)

    def update(
        updates: PyTree[Array],
        state: PyTree[Array],
        params: PyTree | None = None,
        **extra_args: Any,
    ) -> tuple[PyTree[Array], PyTree[Array]]:
        updates, state = chosen.update(updates, state, params, **extra_args)
        return jax.tree.map(lambda leaf: -leaf, updates), state

    return optax.GradientTransformationExtraArgs(chosen.init, update)
