"""A family of learned optimizers whose parts are settings, among them Celo2 and STAR."""

import dataclasses
import functools
import math
import operator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, UnknownNameError, check_count
from optoscope._core.input_layouts import (
    EIGENBASES_OFFSET,
    INPUTS,
    MIXTURES,
    TIME_SCALES,
    log_sides,
    log_sizes,
)
from optoscope.optimizers._accumulators import Decays
from optoscope.optimizers._directed import DirectedOptimizer
from optoscope.optimizers._directions import of_unit_size, orthogonalized
from optoscope.optimizers._domains import check_hyperparameters
from optoscope.optimizers._inputs import time_features
from optoscope.optimizers._scheduled import SCHEDULES, schedule_factor
from optoscope.optimizers._small_network import Coordinates, SmallNetwork
from optoscope.optimizers._star import NOMINAL_TERMS

VECTORS = ("adam", "nominal", "network")
# Steps of vectors are so many times those of orthogonalized matrices, at the start.
_VECTOR_FACTOR = {"adam": 5.0, "nominal": 5.0, "network": 1.0}
_CORRECTION = 0.1
_DIRECTIONS = (*NOMINAL_TERMS, *MIXTURES, "none")
# The weights of the gradient and of the three momenta: Nesterov's momentum of decay 0.9.
_NESTEROV = (0.1, 0.9, 0.0, 0.0)


class GeneralOptimizer(DirectedOptimizer):
    """A nominal direction, with a learned correction or without, brought to unit size.

    Its steps have a size of their own, that of the learning rate, so that it runs with the rate,
    schedule and weight decay of the task at hand, as a hand-designed optimizer does. By default
    it has no network, and its direction is Nesterov's momentum over the root of the second moment
    in the eigenbases of the gradients' covariances. `optimizers.load("general", num_steps=T)` is
    the meta-trained one, with the sizes of its steps for a training of T steps.

    Math: with the network's output d, the nominal direction n (by name, as in `StarOptimizer`;
    "mixed" is (w₀ g + Σ_k w_k m_k)(v + ε)^(-1/2) with learned weights that start as Nesterov's
    momentum, 0.1 and 0.9, and "nesterov" the same of g and m₁ alone), and the learned gain e^γ:
    x = n + e^γ d. Matrices: x is orthogonalized if asked for, then divided by its root mean square
    over the last two axes; p ← p − η x. Kernels of rank 4 (height, width, inputs, outputs) are
    taken for matrices with a row for every weight of an output; tensors of rank 3 for stacks of
    matrices. Vectors and scalars (rank below 2) take f·η instead of η, with a learned factor f, and
    by `vectors`: Adam's direction ("adam"), the nominal one ("nominal"), or x divided by its root
    mean square ("network").

    With a learned schedule, an update is multiplied by exp(aᵀ S b): a = (1, ln(rows)/10,
    ln(columns)/10) of the tensor's matrices, b = (1, φ(t) − φ(0)) with t the steps taken before and
    φ(t) = tanh(t/τ − 1) for eleven time scales τ from 1 to 10⁵ steps, and a learned S for matrices
    and another for vectors. So sizes of steps can depend on time and on the tensor's shape. With
    learned sizes the update of a matrix is multiplied by (rows/32)^p (columns/32)^q, that of a
    vector by (length/32)^r, with learned exponents. An optimizer that is told the length T of
    training multiplies its updates by ½ (1 + cos(π t/T)) as well, and with learned sizes by
    (T/1000)^s, where T counts as 100 if it is less; t in φ, here and in the network's inputs, is
    1000 t/T. It need not be told a schedule.

    With adaptive sizes the update of a tensor of matrices is multiplied by exp(a (1 − t/T)^(1/2))
    as well, where a starts at 0 and follows the cosine between the gradient and the step before:
    over the first quarter of training a ← clip(a + (100/T) cos(−g_t, u_{t−1}), 0, ln 8). So steps
    grow where the loss goes on falling beyond them (see `_adaptive_sizes`).

    With `refresh_every`, matrices are seen in the eigenbases of their gradients' covariances, as
    SOAP's are (see `_eigenbases`): x is made of G' = Q_rowsᵀ G Q_columns and of the averages of
    that, and Q_rows x Q_columnsᵀ is the direction that is brought to unit size.

    `nominal="none", inputs="celo2", gain 1` is Celo2: `vectors="adam"` and a factor of 20 with
    orthogonalization, "network" without. Without `normalize` the update is the sum of a nominal
    term and a black box, as STAR's is, but for its learned magnitudes.

    Source: this library's own, from the parts of Celo2, Muon (Jordan et al. 2024), SOAP (Vyas et
    al. 2024) and STAR (paper C). It is invariant to the scale of the loss but for the network's
    inputs; γ, ln η and ln f are meta-parameters beside the network's.

    Example:
        >>> import jax
        >>> optimizer = GeneralOptimizer.create(jax.random.key(0), learning_rate=0.1)
        >>> params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(jnp.sqrt(jnp.mean(updates["w"] ** 2))), 3)
        0.1
    """

    log_vector_factor: Float[Array, ""]
    log_gain: Float[Array, ""]
    mixing: Float[Array, " averages"] | None
    schedule: Float[Array, "2 3 times"] | None
    size_exponents: Float[Array, " 4"] | None
    inputs: str = eqx.field(static=True)
    nominal: str = eqx.field(static=True)
    orthogonalize: bool = eqx.field(static=True)
    normalize: bool = eqx.field(static=True)
    vectors: str = eqx.field(static=True)
    num_steps: int | None = eqx.field(static=True)
    refresh_every: int | None = eqx.field(static=True)
    adaptive_sizes: bool = eqx.field(static=True, default=False)

    @classmethod
    def create(
        cls,
        key: PRNGKeyArray,
        *,
        learning_rate: float | int | Float[Array, ""] = 1e-3,
        inputs: str = "celo2",
        nominal: str = "nesterov",
        orthogonalize: bool = False,
        normalize: bool = True,
        vectors: str = "adam",
        vector_factor: float | int | None = None,
        gain: float | int | None = None,
        learned_schedule: bool = False,
        learned_sizes: bool = False,
        adaptive_sizes: bool = False,
        num_steps: int | None = None,
        refresh_every: int | None = 10,
        hidden_size: int = 0,
    ) -> "GeneralOptimizer":
        """Draws an untrained optimizer.

        Args:
            key: PRNG key.
            learning_rate: η, the root mean square of a matrix's step; not negative.
            inputs: the network's features: "celo2" (30) or "small_fc" (39, with functions of
                time).
            nominal: "sgd", "momentum", "aggmo", "adam", "aggmo-adam", "nesterov", "mixed" or
                "none".
            orthogonalize: whether the directions of matrices are orthogonalized.
            normalize: whether directions are brought to unit size.
            vectors: what tensors of rank below 2 do: "adam", "nominal" or "network".
            vector_factor: f at the start; 1 if not given, or 5 beside orthogonalized matrices
                where `vectors` is "adam" or "nominal".
            gain: e^γ at the start; 0.1, or 1 where there is no nominal direction, if not given.
            learned_schedule: whether updates are multiplied by a learned function of the step
                and of the tensor's shape, which is 1 everywhere at first.
            learned_sizes: whether they are multiplied by learned powers of the tensor's sides and
                of the length of training, which are 1 at first.
            adaptive_sizes: whether steps of matrices grow, up to eight times, in the first quarter
                of training while gradients agree with the steps before; needs `num_steps`.
            num_steps: T, the length of training; then updates are multiplied by a cosine down to
                zero, and functions of time count in thousandths of it.
            refresh_every: steps between refreshes of the eigenbases that matrices are seen in;
                None: they are seen as they are.
            hidden_size: units of each hidden layer; 0: there is no correction.

        Raises:
            UnknownNameError: no such inputs, nominal direction or way with vectors.
            InvalidValueError: a negative rate, a factor or gain that is not positive, a size below
                1, nominal steps of vectors without a nominal direction, or adaptive sizes without
                a length of training.
        """
        if inputs not in INPUTS:
            raise UnknownNameError("inputs", inputs, INPUTS)
        if nominal not in _DIRECTIONS:
            raise UnknownNameError("nominal term", nominal, _DIRECTIONS)
        if vectors not in VECTORS:
            raise UnknownNameError("way with vectors", vectors, VECTORS)
        if nominal == "none" and vectors == "nominal":
            raise InvalidValueError(
                'vectors is "nominal", but there is no nominal direction; take "adam" or "network".'
            )
        check_hyperparameters("general", {"learning_rate": learning_rate})
        check_count("hidden_size", hidden_size, minimum=0, maximum=1024)
        for name, count in (("num_steps", num_steps), ("refresh_every", refresh_every)):
            if count is not None:
                check_count(name, count, minimum=1)
        if adaptive_sizes and num_steps is None:
            raise InvalidValueError(
                "adaptive_sizes=True needs num_steps: sizes adapt in the first quarter of training."
            )
        if nominal == "none" and hidden_size == 0:
            raise InvalidValueError(
                "there is neither a nominal direction nor a network; name a nominal direction or "
                "give the network hidden units."
            )
        factor = vector_factor
        if factor is None:
            factor = _VECTOR_FACTOR[vectors] if orthogonalize else 1.0
        gain = (1.0 if nominal == "none" else _CORRECTION) if gain is None else gain
        for name, value in (("vector_factor", factor), ("gain", gain)):
            if not (math.isfinite(value) and value > 0):
                raise InvalidValueError(f"{name} is {value!r}; it must be positive.")
        layout, decays = INPUTS[inputs]
        if refresh_every is not None:
            layout = dataclasses.replace(layout, second_moment_offset=EIGENBASES_OFFSET)
        network = SmallNetwork.create(
            key, 1, hidden_size=hidden_size, layout=layout, decays=Decays.fixed(decays)
        )
        rate = jnp.log(jnp.asarray(learning_rate, jnp.float32))
        weights = _NESTEROV[: MIXTURES.get(nominal, 0)]
        mixing = jnp.asarray(weights, jnp.float32) if weights else None
        return cls(
            network,
            rate,
            jnp.asarray(math.log(factor), jnp.float32),
            jnp.asarray(math.log(gain), jnp.float32),
            mixing,
            jnp.zeros((2, 3, 1 + len(TIME_SCALES))) if learned_schedule else None,
            jnp.zeros(4) if learned_sizes else None,
            inputs,
            nominal,
            bool(orthogonalize),
            bool(normalize),
            vectors,
            num_steps,
            refresh_every,
            bool(adaptive_sizes),
        )

    @property
    def steps_between_bases(self) -> int | None:
        """Steps between refreshes of the eigenbases of matrices; None: they have none."""
        return self.refresh_every

    @property
    def adapts_over(self) -> int | None:
        """T where sizes adapt; None: they never do."""
        return self.num_steps if self.adaptive_sizes else None

    @property
    def time_unit(self) -> float:
        """One step, or a thousandth of the run where its length is known."""
        return 1.0 if self.num_steps is None else self.num_steps / 1000

    def multiplier(self, step: Int[Array, ""], shape: tuple[int, ...]) -> Float[Array, ""] | None:
        """What the update of a tensor of this shape is multiplied by after so many steps."""
        factors = []
        if self.num_steps is not None:
            cosine = jnp.asarray(SCHEDULES.index("cosine"))
            factors.append(schedule_factor(cosine, step, jnp.asarray(self.num_steps)))
        if self.size_exponents is not None:
            logarithms = jnp.asarray(log_sizes(shape, self.num_steps))
            factors.append(jnp.exp(logarithms @ self.size_exponents))
        if self.schedule is not None:
            times = step, jnp.zeros_like(step)
            now, start = (time_features(time, unit=self.time_unit) for time in times)
            seen = jnp.concatenate([jnp.ones(1), now - start])
            learned = jnp.asarray(log_sides(shape)) @ self.schedule[int(len(shape) < 2)] @ seen
            factors.append(jnp.exp(learned))
        return functools.reduce(operator.mul, factors) if factors else None

    @property
    def vector_rate(self) -> Float[Array, ""]:
        """f·η, the learning rate of vectors and scalars, whoever gives their direction."""
        return self.learning_rate * jnp.exp(self.log_vector_factor)

    @property
    def adam_rate(self) -> Float[Array, ""]:
        """The learning rate of vectors, which are Adam's where `vectors` is "adam"."""
        return self.vector_rate

    def _by_network(self, rank: int) -> bool:
        return self.vectors != "adam" or rank > 1

    def _direction(self, at: Coordinates) -> Array:
        correction = jnp.exp(self.log_gain) * at.outputs[0]
        if self.nominal == "none":
            return correction
        if self.mixing is not None:
            averages = (at.gradient, *at.momenta)[: len(self.mixing)]
            parts = [self.mixing[place] * average for place, average in enumerate(averages)]
            return sum(parts[1:], parts[0]) * at.preconditioner + correction
        return NOMINAL_TERMS[self.nominal](at) + correction

    def _step(self, direction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        if direction.ndim < 2:
            as_it_is = self.vectors == "nominal" or not self.normalize
            return -self.vector_rate * (direction if as_it_is else of_unit_size(direction))
        shape = direction.shape
        if direction.ndim == 4:
            direction = direction.reshape(-1, shape[-1])
        if self.orthogonalize:
            direction = orthogonalized(direction)
        if self.normalize:
            direction = of_unit_size(direction)
        return -self.learning_rate * direction.reshape(shape)

    @property
    def registered_name(self) -> str:
        """The name of this class among registered optimizers."""
        return "general"

    def configuration(self) -> dict[str, Any]:
        """The arguments of `create` but the rate, the factor and the gain, which are leaves."""
        return {
            "inputs": self.inputs,
            "nominal": self.nominal,
            "orthogonalize": self.orthogonalize,
            "normalize": self.normalize,
            "vectors": self.vectors,
            "learned_schedule": self.schedule is not None,
            "learned_sizes": self.size_exponents is not None,
            "adaptive_sizes": self.adaptive_sizes,
            "num_steps": self.num_steps,
            "refresh_every": self.refresh_every,
            "hidden_size": self.network.hidden_bias.shape[0],
        }
