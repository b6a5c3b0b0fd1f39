"""Meta-training of P on the noisy quadratic model by evolution strategies (figures 2b and 2c)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float64, Int, Key, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_number
from optoscope._core.programs import Program
from optoscope._core.trees import select
from optoscope.analysis.quadratic._model import MatrixOptimizer, NoisyQuadratic, dynamics_matrix
from optoscope.analysis.quadratic._moments import expected_losses
from optoscope.training import run_keys
from optoscope.training._train import run_once

PAPER_FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class MetaSettings:
    """How P is meta-trained.

    The defaults are the paper's where it gives one: T = 50, σ = 0.01, AdamW, clipping at 1. It
    does not give the meta-learning rate of this model, the number of particles, or the start of
    P: the first is the one of its other experiments, the others are ours.

    Args:
        horizon: T, the length of a run; with a truncation as long, PES is plain ES.
        learning_rate: of AdamW.
        weight_decay: of AdamW, as a multiple of the learning rate.
        num_particles: antithetic pairs a meta-step.
        sigma: σ, the standard deviation of a perturbation.
        clip: the largest absolute entry of a meta-gradient.
        start_scale: standard deviation of the entries of P at the start; 0 starts at P = 0.
    """

    horizon: int = 50
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    num_particles: int = 16
    sigma: float = 0.01
    clip: float = 1.0
    start_scale: float = 0.0

    def __post_init__(self):
        for name in ("horizon", "num_particles"):
            check_number(name, getattr(self, name), minimum=1)
        for name in ("learning_rate", "sigma", "clip"):
            check_number(name, getattr(self, name), minimum=0, exclusive_minimum=True)
        for name in ("weight_decay", "start_scale"):
            check_number(name, getattr(self, name), minimum=0)


@dataclass(frozen=True)
class MetaTraining:
    """P over meta-training, for every nominal step and seed.

    Args:
        nominals: the values of α.
        steps: meta-steps done at each record; the first is 0.
        preconditioners: P.
        eigenvalue_magnitudes: |λ(A)|, from the largest down.
        expected_loss: the exact expected loss over T steps at each P.
        sampled_loss: the mean loss of the sampled runs since the record before; NaN at the first.
        skipped: meta-steps left out because the estimate was not finite.
    """

    nominals: Float64[np.ndarray, " nominals"]
    steps: Int[np.ndarray, " records"]
    preconditioners: Float64[np.ndarray, "nominals seeds records n n"]
    eigenvalue_magnitudes: Float64[np.ndarray, "nominals seeds records n"]
    expected_loss: Float64[np.ndarray, "nominals seeds records"]
    sampled_loss: Float64[np.ndarray, "nominals seeds records"]
    skipped: Int[np.ndarray, "nominals seeds"]


def paper_meta_nominals(
    quadratic: NoisyQuadratic, *, as_printed: bool = True
) -> Float64[np.ndarray, " nominals"]:
    """The α of figures 2b and 2c, whose legend reads "2α/λ_max(H) ∈ {0, 0.1, 0.2, 0.3, 0.4}".

    As printed, α = f λ_max/2. That is a rate times a curvature, not a share of the stable range;
    with `as_printed=False` the values are f · 2/λ_max(H), the fractions of figure 2a's axis,
    which may be what is meant.

    Example:
        >>> paper_meta_nominals(NoisyQuadratic([[4.0]])).round(3).tolist()
        [0.0, 0.2, 0.4, 0.6, 0.8]
        >>> paper_meta_nominals(NoisyQuadratic([[4.0]]), as_printed=False).round(3).tolist()
        [0.0, 0.05, 0.1, 0.15, 0.2]
    """
    fractions, largest = np.array(PAPER_FRACTIONS), quadratic.largest_curvature
    return fractions * largest / 2 if as_printed else fractions * 2 / largest


class _Carry(eqx.Module):
    preconditioner: Float[Array, "n n"]
    optimizer_state: Any
    skipped: Int[Array, ""]


def _antithetic_estimate(
    quadratic: NoisyQuadratic,
    preconditioner: Float[Array, "n n"],
    nominal: Float[Array, ""],
    key: PRNGKeyArray,
    settings: MetaSettings,
) -> tuple[Float[Array, ""], Float[Array, "n n"]]:
    """The mean loss and mean (L⁺ − L⁻)/(2σ²)·ε; both signs meet the same start and noise."""

    def mean_loss(P: Float[Array, "n n"], key: PRNGKeyArray) -> Float[Array, ""]:
        init_key, batch_key = jax.random.split(key)
        optimizer = MatrixOptimizer(P, nominal)
        # The loss at φ₀ is no part of equation 8.
        losses, _, _ = run_once(quadratic, optimizer, settings.horizon + 1, init_key, batch_key)
        return jnp.mean(losses[1:])

    def particle(key: PRNGKeyArray) -> tuple[Float[Array, ""], Float[Array, "n n"]]:
        noise_key, run_key = jax.random.split(key)
        epsilon = settings.sigma * jax.random.normal(noise_key, preconditioner.shape)
        signs = jnp.array([1.0, -1.0])
        plus, minus = jax.vmap(lambda s: mean_loss(preconditioner + s * epsilon, run_key))(signs)
        return (plus + minus) / 2, (plus - minus) / (2 * settings.sigma**2) * epsilon

    losses, gradients = jax.vmap(particle)(run_keys(key, settings.num_particles))
    return jnp.mean(losses), jnp.mean(gradients, axis=0)


@Program
def _meta_train(
    quadratic: NoisyQuadratic,
    nominals: Float[Array, " nominals"],
    keys: Key[Array, " seeds"],
    settings: MetaSettings,
    num_records: int,
    record_every: int,
) -> tuple[Array, Array, Array, Array]:
    meta_optimizer = optax.chain(
        optax.clip(settings.clip),
        optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay),
    )

    def step(
        carry: _Carry, key: PRNGKeyArray, nominal: Float[Array, ""]
    ) -> tuple[_Carry, Float[Array, ""]]:
        P, state = carry.preconditioner, carry.optimizer_state
        loss, gradient = _antithetic_estimate(quadratic, P, nominal, key, settings)
        finite = jnp.all(jnp.isfinite(gradient))
        updates, new_state = meta_optimizer.update(gradient, state, P)
        moved = optax.apply_updates(P, updates)
        new, new_state = select(finite, (moved, new_state), (P, state))
        return _Carry(new, new_state, carry.skipped + ~finite), loss

    def one(nominal: Float[Array, ""], key: PRNGKeyArray) -> tuple[Array, Array, Array, Array]:
        start_key, train_key = jax.random.split(key)
        n = quadratic.size
        start = settings.start_scale * jax.random.normal(start_key, (n, n))
        carry = _Carry(start, meta_optimizer.init(start), jnp.zeros((), jnp.int32))

        def block(carry: _Carry, index: Array) -> tuple[_Carry, tuple[Array, Array]]:
            keys = jax.vmap(lambda i: jax.random.fold_in(train_key, i))(
                index * record_every + jnp.arange(record_every)
            )
            carry, losses = jax.lax.scan(lambda c, k: step(c, k, nominal), carry, keys)
            return carry, (carry.preconditioner, jnp.mean(losses))

        carry, (trace, losses) = jax.lax.scan(block, carry, jnp.arange(num_records))
        return start, trace, losses, carry.skipped

    over_seeds = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(nominals, keys)


def meta_train(
    quadratic: NoisyQuadratic,
    *,
    key: PRNGKeyArray,
    nominals: Sequence[float] | np.ndarray | None = None,
    num_meta_steps: int = 10_000,
    num_seeds: int = 5,
    record_every: int = 10,
    settings: MetaSettings | None = None,
) -> MetaTraining:
    """Meta-trains the matrix P, with α fixed, for several α and seeds in one program.

    Antithetic evolution strategies on the mean loss of sampled runs, AdamW on the estimate. The
    seeds are shared by the values of α, so these are compared pair by pair. The dynamics'
    eigenvalues are those of A at the unperturbed P.

    Source: paper C, figures 2b and 2c, appendix B.1 (five seeds).

    Args:
        quadratic: the problem.
        key: PRNG key.
        nominals: values of α; `paper_meta_nominals` if not given.
        num_meta_steps: rounded down to a multiple of `record_every`.
        num_seeds: meta-trainings for each α.
        record_every: meta-steps between records.
        settings: everything else.

    Returns:
        P, eigenvalue magnitudes and losses over meta-training.

    Raises:
        InvalidValueError: no α, or fewer meta-steps than one record takes.

    Example:
        >>> found = meta_train(NoisyQuadratic.paper(), key=jax.random.key(0), nominals=[0.3],
        ...                    num_meta_steps=20, num_seeds=2,
        ...                    settings=MetaSettings(horizon=10, learning_rate=0.01))
        >>> found.eigenvalue_magnitudes.shape, bool((found.expected_loss[..., -1]
        ...                                          < found.expected_loss[..., 0]).all())
        ((1, 2, 3, 2), True)
    """
    settings = settings or MetaSettings()
    chosen = paper_meta_nominals(quadratic) if nominals is None else np.asarray(nominals, float)
    if chosen.ndim != 1 or not len(chosen):
        raise InvalidValueError("nominals must be a list of at least one number.")
    check_number("record_every", record_every, minimum=1)
    check_number("num_meta_steps", num_meta_steps, minimum=record_every)
    check_number("num_seeds", num_seeds, minimum=1)
    num_records = num_meta_steps // record_every
    with jax.enable_x64(True):
        outcome = _meta_train(
            quadratic, jnp.asarray(chosen), run_keys(key, num_seeds), settings,
            num_records, record_every,
        )  # fmt: skip
        start, trace, losses, skipped = (np.asarray(part) for part in outcome)
    P = np.concatenate([start[:, :, None], trace], axis=2)
    sampled = np.concatenate([np.full_like(losses[..., :1], np.nan), losses], axis=2)
    alphas = np.broadcast_to(chosen[:, None, None], P.shape[:3])
    n = quadratic.size
    return MetaTraining(
        chosen,
        record_every * np.arange(num_records + 1),
        P,
        _magnitudes(quadratic, P, alphas),
        expected_losses(
            quadratic, P.reshape(-1, n, n), alphas.reshape(-1), settings.horizon
        ).reshape(alphas.shape),
        sampled,
        skipped,
    )


def _magnitudes(
    quadratic: NoisyQuadratic, P: np.ndarray, alphas: np.ndarray
) -> Float64[np.ndarray, "nominals seeds records n"]:
    identity = np.eye(quadratic.size)
    # `dynamics_matrix` is affine in P and α: two calls to it give it for all records.
    base = dynamics_matrix(quadratic, 0 * identity)
    gain = base - dynamics_matrix(quadratic, identity)
    A = base - (alphas[..., None, None] * identity + P) @ gain
    return -np.sort(-np.abs(np.linalg.eigvals(A)), axis=-1)
