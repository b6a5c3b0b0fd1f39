"""The update rule of any optimizer as a short formula over what hand-designed optimizers use."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope._core.trees import size
from optoscope.analysis.dynamics._formula_terms import FormulaOptimizer, Means, Term, formula_terms
from optoscope.optimizers import Optimizer
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import Probe, StepRecord, train

_COORDINATES = 24
_ENOUGH = 0.999
_WORTH_A_TERM = 0.005
# An exchange of terms must lessen what is unexplained by a share above the noise of rounding.
_WORTH_AN_EXCHANGE = 0.01


class _Coordinates(Probe):
    """Gradients, updates and parameters of some coordinates at every step."""

    def measure(self, record: StepRecord) -> Float[Array, "3 coordinates"]:
        total = size(record.params)
        count = min(_COORDINATES, total)
        chosen = np.sort(np.random.default_rng(0).permutation(total)[:count])
        trees = (record.grads, record.updates, record.params)
        return jnp.stack([ravel_pytree(tree)[0][chosen] for tree in trees])


class _Terms(FormulaOptimizer):
    """A formula whose "updates" are the values of its terms, along a last axis."""

    def update(
        self, grads: Array, state: Means, params: Array | None = None, **extra
    ) -> tuple[Array, Means]:
        values, state = self.values(grads, state, params)
        return jnp.stack(values, axis=-1), state


@dataclass(frozen=True)
class Trajectories:
    """What coordinates met and how they were moved: a column for each of each run."""

    gradients: Float[np.ndarray, "steps columns"]
    updates: Float[np.ndarray, "steps columns"]
    params: Float[np.ndarray, "steps columns"]


def trajectories(
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    *,
    key: PRNGKeyArray,
    num_steps: int,
    num_runs: int,
) -> Trajectories:
    """Runs an optimizer and keeps what a sample of its coordinates met."""
    run = train(
        task, optimizer, num_steps, key=key, num_runs=num_runs,
        probes={"met": _Coordinates(every=1)},
    )  # fmt: skip
    met = np.asarray(run.records["met"], np.float32)  # (runs, steps, 3, coordinates)
    columns = met.transpose(2, 1, 0, 3).reshape(3, num_steps, -1)
    finite = np.isfinite(columns).all(axis=(0, 1))
    # A coordinate that never moves, such as the weight of a dark pixel, tells nothing.
    moving = finite & (np.abs(np.nan_to_num(columns[1])).max(axis=0) > 0)
    return Trajectories(*columns[:, :, moving])


@Program
def _answers(
    optimizer: Optimizer,
    gradients: Float[Array, "steps columns"],
    params: Float[Array, "steps columns"],
) -> Float[Array, "steps columns *terms"]:
    """What an optimizer would have done at each step; of a `_Terms`, each of its terms."""

    def step(state: PyTree, met: tuple[Array, Array]) -> tuple[PyTree, Array]:
        updates, state = optimizer.update(met[0], state, met[1])
        return state, updates

    return jax.lax.scan(step, optimizer.init(gradients[0]), (gradients, params))[1]


def remainder(optimizer: Optimizer, met: Trajectories) -> dict[str, float]:
    """The share of squared updates that a component-wise optimizer leaves, and where.

    Args:
        optimizer: what stands in the place of the one whose trajectories these are.
        met: trajectories, best those that nothing was fitted on.

    Returns:
        "all"; "early", "middle" and "late" thirds of the run; "small gradients" and "large
        gradients", those below and above each coordinate's median. Each coordinate counts alike.
    """
    answers = np.asarray(
        _answers(optimizer, jnp.asarray(met.gradients), jnp.asarray(met.params)), np.float64
    )
    updates = met.updates.astype(np.float64)
    sizes = np.sqrt(np.mean(updates**2, axis=0))
    errors, squares = ((answers - updates) / sizes) ** 2, (updates / sizes) ** 2
    steps = np.arange(len(updates))[:, None] * 3 // len(updates)
    large = np.abs(met.gradients) > np.median(np.abs(met.gradients), axis=0)
    thirds = {name: steps == index for index, name in enumerate(("early", "middle", "late"))}
    parts = {"all": np.ones_like(large), **thirds, "small gradients": ~large,
             "large gradients": large}  # fmt: skip
    found = {}
    for name, chosen in parts.items():
        mask = np.broadcast_to(chosen, errors.shape)
        total = squares[mask].sum()
        found[name] = float(np.nan_to_num(errors[mask].sum(), nan=np.inf) / total) if total else 0.0
    return found


@dataclass(frozen=True)
class _Design:
    """Weighted values of terms, and what they are to explain, as inner products."""

    gram: Float[np.ndarray, "terms terms"]
    products: Float[np.ndarray, " terms"]
    total: float

    @classmethod
    def of(cls, terms: Sequence[Term], met: Trajectories, num_steps: int) -> "_Design":
        optimizer = _Terms(jnp.zeros(len(terms)), tuple(terms), num_steps)
        found = _answers(optimizer, jnp.asarray(met.gradients), jnp.asarray(met.params))
        values = np.asarray(found, np.float64)
        # Problems and coordinates differ in scale; each counts as much as any other.
        sizes = np.sqrt(np.mean(np.square(met.updates, dtype=np.float64), axis=0))
        weighted = (values / sizes[:, None]).reshape(-1, len(terms))
        updates = (met.updates / sizes).reshape(-1)
        return cls(weighted.T @ weighted, weighted.T @ updates, float(updates @ updates))

    def fit(self, chosen: list[int]) -> np.ndarray:
        """The coefficients of the chosen terms, by least squares."""
        gram = self.gram[np.ix_(chosen, chosen)]
        scale = np.sqrt(np.diag(gram))
        scale[scale == 0] = 1.0
        solved = np.linalg.lstsq(gram / np.outer(scale, scale), self.products[chosen] / scale,
                                 rcond=1e-12)[0]  # fmt: skip
        return solved / scale

    def explained(self, chosen: list[int], coefficients: np.ndarray) -> float:
        """The share of the squared updates that these terms explain."""
        gram = self.gram[np.ix_(chosen, chosen)]
        left = self.total - 2 * coefficients @ self.products[chosen]
        return float(1 - (left + coefficients @ gram @ coefficients) / self.total)

    def best(self, candidates: Sequence[list[int]]) -> tuple[list[int], float]:
        """The candidate that explains most, and what it explains."""
        gains = [self.explained(chosen, self.fit(chosen)) for chosen in candidates]
        place = int(np.argmax(gains))
        return candidates[place], gains[place]

    def with_another(self, chosen: list[int]) -> list[int]:
        """The chosen terms with the best one beside them, exchanged until none should be another.

        The largest comes first.
        """
        others = [index for index in range(len(self.products)) if index not in chosen]
        found, gain = self.best([[*chosen, index] for index in others])
        while True:
            others = [index for index in range(len(self.products)) if index not in found]
            exchanged = [
                [*found[:place], index, *found[place + 1 :]]
                for place in range(len(found))
                for index in others
            ]
            if not exchanged:
                break
            other, better = self.best(exchanged)
            if 1 - better >= (1 - _WORTH_AN_EXCHANGE) * (1 - gain):
                break
            found, gain = other, better
        sizes = np.abs(self.fit(found)) * np.sqrt(np.diag(self.gram)[found])
        return [found[place] for place in np.argsort(-sizes, kind="stable")]


@dataclass(frozen=True)
class Formula:
    """A short formula in the place of an optimizer's update.

    Args:
        terms: the one that moves parameters most first.
        coefficients: of the terms; an update is added to the parameter.
        explained: the share of squared updates that it explains on trajectories that it was not
            fitted on, each coordinate counting alike; 1 is exact, below 0 worse than no update.
        path: the same for formulas of one, two, … terms.
        num_steps: the length of the runs it was fitted on.
    """

    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    explained: float
    path: tuple[float, ...]
    num_steps: int

    @property
    def optimizer(self) -> FormulaOptimizer:
        """The formula as an optimizer, which runs on any task."""
        return FormulaOptimizer(
            jnp.asarray(self.coefficients, jnp.float32), self.terms, self.num_steps
        )

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What its terms use, in a fixed order."""
        used = frozenset[str]().union(*(term.mechanisms for term in self.terms))
        order = ("momentum", "normalization", "sign", "schedule", "weight decay")
        return tuple(name for name in order if name in used)

    def __str__(self) -> str:
        parts = []
        for coefficient, term in zip(self.coefficients, self.terms, strict=True):
            sign = "−" if coefficient < 0 else "+"
            parts.append(f"{sign} {abs(coefficient):.3g}·{term}")
        return "Δ = " + " ".join(parts).removeprefix("+ ")


def formula(
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    *,
    key: PRNGKeyArray,
    num_steps: int = 200,
    num_runs: int = 8,
    most_terms: int = 6,
    terms: Sequence[Term] | None = None,
) -> Formula:
    """Fits an optimizer's updates by a few terms of a library; works for any optimizer.

    Use it as a first look at what a rule does: Adam comes back as one term that explains all.
    Terms are chosen one at a time, each the one that leaves least unexplained together with those
    before (orthogonal least squares), and exchanged for others as long as that explains more, on
    the coordinates of runs of the optimizer itself. Other runs say how many terms are worth it:
    the fewest that explain within 0.5% of the best.

    A term acts on each coordinate by itself, so that what an optimizer does to whole
    matrices (Muon) stays unexplained, and the number says so.

    Args:
        optimizer: any.
        task: where it runs; the formula is about what it does there.
        key: PRNG key.
        num_steps: steps per run.
        num_runs: runs to fit on, and again as many to measure on.
        most_terms: the most terms.
        terms: other than those of `formula_terms()`.

    Raises:
        InvalidValueError: the optimizer never moved a finite parameter, or wrong counts.

    Example:
        >>> from optoscope import optimizers, tasks
        >>> found = formula(optimizers.adam(0.1), tasks.get("quadratic"), key=jax.random.key(0))
        >>> str(found), round(found.explained, 4)
        ('Δ = − 0.1·m̂[0.9]/√v̂[0.999]', 1.0)
    """
    check_count("num_steps", num_steps, minimum=2)
    check_count("num_runs", num_runs, minimum=1)
    check_count("most_terms", most_terms, minimum=1)
    fitted_key, held_key = jax.random.split(as_key(key))
    met = [
        trajectories(optimizer, task, key=one, num_steps=num_steps, num_runs=num_runs)
        for one in (fitted_key, held_key)
    ]
    return fitted_formula(formula_terms() if terms is None else terms, *met, most_terms=most_terms)


def fitted_formula(
    terms: Sequence[Term], met: Trajectories, held_out: Trajectories, *, most_terms: int = 6
) -> Formula:
    """The formula for trajectories that are there already; see `formula`.

    Raises:
        InvalidValueError: nothing moved.
    """
    if min(met.updates.shape[1], held_out.updates.shape[1]) == 0:
        raise InvalidValueError(
            "the optimizer never moved a parameter by a finite amount, so that there is no rule to "
            "fit; give a task on which it does something."
        )
    num_steps = len(met.updates)
    fit, held = (_Design.of(terms, one, num_steps) for one in (met, held_out))
    chosen: list[int] = []
    found: list[tuple[list[int], np.ndarray]] = []
    path: list[float] = []
    while len(chosen) < min(most_terms, len(terms)):
        chosen = fit.with_another(chosen)
        found.append((chosen, fit.fit(chosen)))
        path.append(held.explained(*found[-1]))
        if path[-1] >= _ENOUGH:
            break
    enough = max(path) - _WORTH_A_TERM
    count = next(number for number, share in enumerate(path) if share >= enough)
    chosen, coefficients = found[count]
    return Formula(
        tuple(terms[index] for index in chosen),
        tuple(float(c) for c in coefficients),
        path[count],
        tuple(path),
        num_steps,
    )
