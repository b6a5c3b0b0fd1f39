"""Meta-gradients from problems of several shapes at once."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.non_finite import mean_over_usable
from optoscope._core.trees import global_norm
from optoscope.meta._estimator import Estimator, MetaGradient
from optoscope.optimizers import Optimizer
from optoscope.optimizers._files import for_num_steps


class Mixture(Estimator):
    """Averages the meta-gradients of several estimators, each on problems of a shape of its own.

    Problems of one shape run side by side in one program; networks of other widths, depths or
    kinds need another. Each estimator is such a group, with its own horizon, truncation and
    number of problems, and all are computed in every meta-step. An optimizer that knows the length
    of training is told each group's horizon. A group whose problems were all left out adds nothing,
    and the others count for more.

    Args:
        groups: the estimators.
        normalize: divide each group's meta-gradient by its norm before they are averaged, so that
            no group decides alone; the loss is that of the groups as they are.

    Raises:
        InvalidValueError: no group, or groups over different numbers of devices.
    """

    groups: tuple[Estimator, ...]
    normalize: bool = eqx.field(static=True, default=False)

    def __init__(self, groups: Sequence[Estimator], normalize: bool = False):
        if not groups:
            raise InvalidValueError("groups is empty; give at least one estimator.")
        if len({group.devices for group in groups}) > 1:
            raise InvalidValueError(
                f"the groups use {[group.devices for group in groups]} devices; they must agree."
            )
        self.groups = tuple(groups)
        self.normalize = bool(normalize)
        self.devices = groups[0].devices

    def init(self, optimizer: Optimizer, key: PRNGKeyArray) -> Any:
        """The workers of every group."""
        return tuple(
            group.init(_told(optimizer, group), jax.random.fold_in(key, index))
            for index, group in enumerate(self.groups)
        )

    def estimate(
        self, optimizer: Optimizer, workers: Any, key: PRNGKeyArray
    ) -> tuple[MetaGradient, Any]:
        """The mean over the groups that are usable."""
        estimates, after = [], []
        for index, (group, own) in enumerate(zip(self.groups, workers, strict=True)):
            estimate, own = group.estimate(
                _told(optimizer, group), own, jax.random.fold_in(key, index)
            )
            estimates.append(estimate)
            after.append(own)
        usable = jnp.stack([jnp.isfinite(estimate.loss) for estimate in estimates])
        count = jnp.sum(usable)

        def mean(values: Sequence[Any]) -> Any:
            stacked = jnp.where(usable, jnp.stack(values), 0.0)
            return mean_over_usable(jnp.sum(stacked), count.astype(jnp.float32))

        def add(*leaves: Any) -> Any:
            kept = [jnp.where(u, leaf, 0.0) for u, leaf in zip(usable, leaves, strict=True)]
            return sum(kept[1:], kept[0]) / jnp.maximum(count, 1)

        # What each was told is part of its structure; all take that of the optimizer as it came.
        told = getattr(optimizer, "num_steps", None)
        gradients = [self._scaled(_for_length(estimate.gradient, told)) for estimate in estimates]
        aux = {
            "inner_loss": mean([estimate.aux["inner_loss"] for estimate in estimates]),
            "non_finite": sum(estimate.aux["non_finite"] for estimate in estimates),
            "lost_gradients": sum(
                estimate.aux.get("lost_gradients", jnp.zeros(())) for estimate in estimates
            ),
        }
        loss = mean([estimate.loss for estimate in estimates])
        return MetaGradient(loss, jax.tree.map(add, *gradients), aux), tuple(after)

    def _scaled(self, gradient: PyTree[Any]) -> PyTree[Any]:
        if not self.normalize:
            return gradient
        norm = global_norm(eqx.filter(gradient, eqx.is_inexact_array))
        return jax.tree.map(lambda leaf: leaf / jnp.maximum(norm, 1e-30), gradient)


def _told(optimizer: Optimizer, group: Estimator) -> Any:
    """The optimizer, made for the length of the group's episodes if it knows one."""
    return _for_length(optimizer, group.episode_length)


def _for_length(optimizer: Any, length: Any) -> Any:
    return for_num_steps(optimizer, length) if isinstance(length, int) else optimizer
