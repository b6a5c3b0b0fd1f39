"""One meta-step and the state that it leaves; several of them are one compiled program."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.non_finite import skip_causes
from optoscope._core.programs import Program
from optoscope._core.trees import global_norm
from optoscope.meta._estimator import Estimator, MetaGradient
from optoscope.optimizers import Optimizer, as_optax
from optoscope.optimizers._base import extra_arguments


class MetaState(eqx.Module):
    """Everything the next meta-step needs; this is what a checkpoint holds."""

    meta_params: PyTree[Array]
    meta_optimizer_state: PyTree[Array]
    workers: PyTree[Array]
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]
    non_finite_tasks: Float[Array, ""]
    best_meta_params: PyTree[Array]
    best_loss: Float[Array, ""]
    # Only where they are needed, so that the checkpoints of other runs do not hold them.
    averaged: PyTree[Array] = None
    best_step: Int[Array, ""] | None = None


@functools.partial(Program, runs_once=True)
def init_workers(estimator: Estimator, optimizer: Optimizer, key: PRNGKeyArray) -> PyTree[Array]:
    return estimator.init(optimizer, key)


@Program
def advance(
    estimator: Estimator,
    meta_optimizer: Optimizer,
    rest: PyTree,
    state: MetaState,
    key: PRNGKeyArray,
    averaging: Float[Array, ""],
    num_steps: int,
) -> tuple[MetaState, dict[str, Array], dict[str, Array]]:
    """Several meta-steps in one program.

    Returns:
        The state after them; metrics, averaged over those that were not skipped; the number
        that were skipped, by cause.
    """

    def meta_step(state: MetaState, _: None) -> tuple[MetaState, tuple[dict[str, Array], ...]]:
        step_key = jax.random.fold_in(key, state.step)

        def estimate_at(meta_params: PyTree[Array]) -> tuple[MetaGradient, PyTree[Array]]:
            return estimator.estimate(eqx.combine(meta_params, rest), state.workers, step_key)

        estimate, workers = estimate_at(state.meta_params)
        gradient = eqx.filter(estimate.gradient, eqx.is_inexact_array)
        before = (state.meta_params, state.meta_optimizer_state)
        updates, meta_optimizer_state = as_optax(meta_optimizer).update(
            gradient,
            state.meta_optimizer_state,
            state.meta_params,
            **extra_arguments(estimate.loss, gradient, lambda meta: estimate_at(meta)[0].loss),
        )
        after = (optax.apply_updates(state.meta_params, updates), meta_optimizer_state)
        lost = estimate.aux.get("lost_gradients", jnp.zeros(()))
        measured = {
            "meta_loss": estimate.loss,
            "inner_loss": estimate.aux["inner_loss"],
            "gradient_norm": global_norm(gradient),
        }
        unknown = jax.tree.map(lambda value: jnp.full_like(value, jnp.nan), measured)
        causes = skip_causes(estimate.loss, lost, gradient, updates, before, after)

        def outcome(cause: str | None) -> tuple:
            flags = {name: jnp.asarray(name == cause) for name in causes}
            return (after, measured, flags) if cause is None else (before, unknown, flags)

        # A choice leaf by leaf would be compiled, with all that it depends on, for every leaf.
        kept, metrics, skipped = jax.lax.switch(
            sum(place * flag for place, flag in enumerate(causes.values(), start=1)),
            [functools.partial(outcome, cause) for cause in (None, *causes)],
        )
        meta_params, meta_optimizer_state = kept
        finite = ~jnp.any(jnp.stack(list(skipped.values())))
        state = MetaState(
            meta_params=meta_params,
            meta_optimizer_state=meta_optimizer_state,
            workers=workers,
            step=state.step + 1,
            skipped=state.skipped + (~finite).astype(jnp.int32),
            skipped_in_a_row=jnp.where(finite, 0, state.skipped_in_a_row + 1),
            non_finite_tasks=state.non_finite_tasks + estimate.aux["non_finite"],
            best_meta_params=state.best_meta_params,
            best_loss=state.best_loss,
            averaged=_moved(state.averaged, meta_params, averaging, state.step),
            best_step=state.best_step,
        )
        return state, (metrics, skipped)

    state, (metrics, skipped) = jax.lax.scan(meta_step, state, None, length=num_steps)
    return state, jax.tree.map(jnp.nanmean, metrics), jax.tree.map(jnp.sum, skipped)


def _moved(
    averaged: PyTree[Array], meta_params: PyTree[Array], averaging: Array, step: Array
) -> PyTree[Array]:
    """The average after a meta-step; early on the plain mean, so that the start is forgotten."""
    if averaged is None:
        return None
    decay = jnp.minimum(averaging, step / (step + 1.0))
    return jax.tree.map(
        lambda mean, leaf: mean + ((1 - decay) * (leaf - mean)).astype(leaf.dtype),
        averaged,
        meta_params,
    )
