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

from optoscope import tasks
from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.non_finite import all_finite
from optoscope._core.programs import Program
from optoscope._core.trees import fresh_arrays, select
from optoscope.analysis.quadratic import MatrixOptimizer, NoisyQuadratic, dynamics_matrix
from optoscope.analysis.quadratic._moments import expected_losses
from optoscope.meta import FullES, Objective
from optoscope.optimizers import OptimizerModule
from optoscope.training import run_keys

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
        num_particles: antithetic pairs per meta-step.
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

    def estimator(self, quadratic: NoisyQuadratic) -> FullES:
        """The library's evolution strategies on runs of T steps, whose mean loss counts."""
        # The loss at φ₀ is no part of equation 8: it weighs nothing, and the run is one longer.
        weights = jnp.ones(self.horizon + 1).at[0].set(0.0)
        return FullES(
            tasks.fixed(quadratic),
            num_particles=self.num_particles,
            horizon=self.horizon + 1,
            std=self.sigma,
            objective=Objective("mean", weights=weights),
        )

    def meta_optimizer(self) -> optax.GradientTransformation:
        """AdamW behind the clipping of every entry."""
        return optax.chain(
            optax.clip(self.clip), optax.adamw(self.learning_rate, weight_decay=self.weight_decay)
        )


class FixedNominal(OptimizerModule):
    """`MatrixOptimizer` whose P is meta-trained while α is not.

    Args:
        preconditioner: P, the only meta-parameter.
        choice: which of the nominal steps is α; a whole number, so that nothing trains it.
        nominals: the values to choose from.
    """

    preconditioner: Float[Array, "n n"]
    choice: Int[Array, ""]
    nominals: tuple[float, ...] = eqx.field(static=True)

    def _matrix(self) -> MatrixOptimizer:
        nominals = jnp.asarray(self.nominals, self.preconditioner.dtype)
        return MatrixOptimizer(self.preconditioner, nominals[self.choice])

    def init(self, params: Float[Array, " n"]) -> None:
        """There is no state."""
        return self._matrix().init(params)

    def update(
        self,
        grads: Float[Array, " n"],
        state: None,
        params: Float[Array, " n"] | None = None,
        **extra: Any,
    ) -> tuple[Float[Array, " n"], None]:
        """−(α I + P) g."""
        return self._matrix().update(grads, state, params, **extra)


@dataclass(frozen=True)
class MetaTraining:
    """P over meta-training, for every nominal step and seed.

    Args:
        nominals: the values of α.
        steps: meta-steps done at each record; the first is 0.
        preconditioners: P.
        eigenvalue_magnitudes: |λ(A)|, from the largest down.
        expected_loss: the exact expected loss over T steps at each P.
        sampled_loss: the mean loss of the sampled runs since the record before; NaN at the first,
            and where no run was finite.
        skipped: meta-steps left out because no pair of runs was finite.
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
    optimizer: FixedNominal
    meta_state: Any
    skipped: Int[Array, ""]


@Program
def _meta_train(
    estimator: FullES,
    size: int,
    nominals: tuple[float, ...],
    keys: Key[Array, " seeds"],
    settings: MetaSettings,
    num_records: int,
    record_every: int,
) -> tuple[Array, Array, Array, Array]:
    """All α and seeds side by side, which `meta.Trainer`, made for one optimizer, does not do."""
    meta_optimizer = settings.meta_optimizer()

    def step(carry: _Carry, key: PRNGKeyArray) -> tuple[_Carry, Float[Array, ""]]:
        optimizer, P = carry.optimizer, carry.optimizer.preconditioner
        worker_key, estimate_key = jax.random.split(key)
        # Whole episodes keep nothing from one estimate to the next.
        workers = estimator.init(optimizer, worker_key)
        estimate, _ = estimator.estimate(optimizer, workers, estimate_key)
        gradient = estimate.gradient.preconditioner
        updates, meta_state = meta_optimizer.update(gradient, carry.meta_state, P)
        # Without a usable pair the loss is NaN and the gradient zero.
        usable = jnp.isfinite(estimate.loss) & all_finite(gradient)
        P, meta_state = select(
            usable, (optax.apply_updates(P, updates), meta_state), (P, carry.meta_state)
        )
        optimizer = eqx.tree_at(lambda o: o.preconditioner, optimizer, P)
        return _Carry(optimizer, meta_state, carry.skipped + ~usable), estimate.loss

    def one(choice: Int[Array, ""], key: PRNGKeyArray) -> tuple[Array, Array, Array, Array]:
        start_key, train_key = jax.random.split(key)
        start = settings.start_scale * jax.random.normal(start_key, (size, size))
        optimizer = FixedNominal(start, choice, nominals)
        carry = _Carry(optimizer, meta_optimizer.init(start), jnp.zeros((), jnp.int32))

        def block(carry: _Carry, index: Array) -> tuple[_Carry, tuple[Array, Array]]:
            keys = jax.vmap(lambda i: jax.random.fold_in(train_key, i))(
                index * record_every + jnp.arange(record_every)
            )
            carry, losses = jax.lax.scan(step, carry, keys)
            return carry, (carry.optimizer.preconditioner, jnp.nanmean(losses))

        carry, (trace, losses) = jax.lax.scan(block, carry, jnp.arange(num_records))
        return start, trace, losses, carry.skipped

    over_seeds = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(jnp.arange(len(nominals)), keys)


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

    `meta.FullES` on the mean loss of sampled runs, AdamW on its estimate. The seeds are shared by
    the values of α, so these are compared pair by pair. The dynamics' eigenvalues are those of A
    at the unperturbed P.

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
    check_count("record_every", record_every, minimum=1)
    check_count("num_meta_steps", num_meta_steps, minimum=record_every)
    check_count("num_seeds", num_seeds, minimum=1)
    num_records = num_meta_steps // record_every
    values = tuple(chosen.tolist())
    with jax.enable_x64(True):
        estimator = settings.estimator(fresh_arrays(quadratic))
        outcome = _meta_train(
            estimator, quadratic.size, values, run_keys(key, num_seeds), settings,
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
