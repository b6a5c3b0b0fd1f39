"""The update rule of any optimizer as a short formula over what hand-designed optimizers use."""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError, check_count
from optoscope._core.keys import as_key
from optoscope._core.programs import Program
from optoscope._core.trees import size
from optoscope.optimizers import Optimizer, OptimizerModule
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import Probe, StepRecord, train

DECAYS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
SECOND_DECAYS = (0.9, 0.95, 0.99, 0.999)
# Of the means that Lion takes the sign of: the interpolation, and the mean's own decay.
INTERPOLATIONS = ((0.9, 0.99), (0.95, 0.98))
_EPSILON = 1e-8
_EARLY = 8.0
_COORDINATES = 24
_ENOUGH = 0.999
_WORTH_A_TERM = 0.005


@dataclass(frozen=True)
class Term:
    """One term of a formula: a product of what is listed, the same for every coordinate.

    Args:
        of: "gradient", "momentum", "interpolation" (of the gradient and a running mean, as in
            Lion), "parameter" or "one".
        decay: of the running mean m, where there is one.
        interpolation: the weight of m beside the gradient, for "interpolation".
        corrected: whether m is divided by 1 − decay^t, as Adam does.
        second_decay: of the running mean v of squares that it is divided by the root of, or None.
        sign: whether only its sign counts.
        early: whether it fades with exp(−8 t/T).
    """

    of: str
    decay: float | None = None
    interpolation: float | None = None
    corrected: bool = False
    second_decay: float | None = None
    sign: bool = False
    early: bool = False

    @property
    def mechanisms(self) -> frozenset[str]:
        """The mechanisms that it uses, by the names that `optoscope explain` prints."""
        used = {
            "momentum": self.of in ("momentum", "interpolation"),
            "normalization": self.second_decay is not None,
            "sign": self.sign,
            "schedule": self.early,
            "weight decay": self.of == "parameter",
        }
        return frozenset(name for name, is_used in used.items() if is_used)

    def __str__(self) -> str:
        if self.of == "interpolation":
            assert self.interpolation is not None
            text = f"({self.interpolation:g} m[{self.decay:g}] + {1 - self.interpolation:g} g)"
        else:
            letters = {"gradient": "g", "momentum": "m", "parameter": "p", "one": "1"}
            hat = "̂" if self.corrected else ""
            text = letters[self.of] + hat + ("" if self.decay is None else f"[{self.decay:g}]")
        text = f"sign {text}" if self.sign else text
        text = text if self.second_decay is None else f"{text}/√v̂[{self.second_decay:g}]"
        return f"{text}·exp(−8t/T)" if self.early else text


def formula_terms() -> tuple[Term, ...]:
    """The terms that a formula may have.

    Gradient, running means (raw and corrected) of six decays, each alone or over the root of one
    of four second moments; signs of gradient and means, and Lion's interpolations; the parameter
    (weight decay), a constant; and three that fade early in a run.
    """
    means = [Term("momentum", decay) for decay in DECAYS]
    corrected = [Term("momentum", decay, corrected=True) for decay in DECAYS]
    normalized = [
        Term(one.of, one.decay, corrected=one.corrected, second_decay=second)
        for one in (Term("gradient"), *corrected)
        for second in SECOND_DECAYS
    ]
    signs = [Term(one.of, one.decay, sign=True) for one in (Term("gradient"), *means)]
    signs += [Term("interpolation", own, weight, sign=True) for weight, own in INTERPOLATIONS]
    early = [
        Term("gradient", early=True),
        Term("momentum", 0.9, corrected=True, early=True),
        Term("momentum", 0.9, corrected=True, second_decay=0.999, early=True),
    ]
    return (
        Term("gradient"), *means, *corrected, *normalized, *signs, *early, Term("parameter"),
        Term("one"),
    )  # fmt: skip


class Means(eqx.Module):
    """Steps taken, and the running means of gradients and of their squares, one of each decay."""

    step: Int[Array, ""]
    first: tuple[PyTree[Array], ...]
    second: tuple[PyTree[Array], ...]


class FormulaOptimizer(OptimizerModule):
    """update = Σ coefficient · term, for each coordinate by itself.

    Args:
        coefficients: of the terms.
        terms: see `Term`.
        num_steps: T, of terms that fade.
    """

    coefficients: Float[Array, " terms"]
    terms: tuple[Term, ...] = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)

    @property
    def _decays(self) -> tuple[float, ...]:
        return tuple(sorted({t.decay for t in self.terms if t.decay is not None}))

    @property
    def _second_decays(self) -> tuple[float, ...]:
        return tuple(sorted({t.second_decay for t in self.terms if t.second_decay is not None}))

    def source(self) -> str:
        """A readable Python program that makes this optimizer as an Optax transformation."""
        return _source(self)

    def init(self, params: PyTree[Array]) -> Means:
        """All means at zero."""
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Means(
            jnp.zeros((), jnp.int32),
            tuple(zeros for _ in self._decays),
            tuple(zeros for _ in self._second_decays),
        )

    def update(
        self, grads: PyTree[Array], state: Means, params: PyTree[Array] | None = None, **extra
    ) -> tuple[PyTree[Array], Means]:
        """The updates and the next state."""
        values, new = self.values(grads, state, params)
        weighted = [
            jax.tree.map(lambda leaf, c=c: (c * leaf).astype(leaf.dtype), value)
            for c, value in zip(self.coefficients, values, strict=True)
        ]
        updates = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *weighted)
        return updates, new

    def values(
        self, grads: PyTree[Array], state: Means, params: PyTree[Array] | None
    ) -> tuple[list[PyTree[Array]], Means]:
        """The value of every term, and the next state."""
        step = state.step + 1
        params = jax.tree.map(jnp.zeros_like, grads) if params is None else params
        first = {
            decay: jax.tree.map(lambda m, g, d=decay: d * m + (1 - d) * g, mean, grads)
            for decay, mean in zip(self._decays, state.first, strict=True)
        }
        second = {
            decay: jax.tree.map(lambda v, g, d=decay: d * v + (1 - d) * g * g, mean, grads)
            for decay, mean in zip(self._second_decays, state.second, strict=True)
        }
        before = dict(zip(self._decays, state.first, strict=True))

        def value(term: Term) -> PyTree[Array]:
            found = self._base(term, grads, params, first, before, step)
            if term.sign:
                found = jax.tree.map(jnp.sign, found)
            if (decay := term.second_decay) is not None:
                found = jax.tree.map(
                    lambda x, v: x / (jnp.sqrt(v / (1 - decay**step)) + _EPSILON),
                    found,
                    second[decay],
                )
            if term.early:
                fading = jnp.exp(-_EARLY * (step - 1) / self.num_steps)
                found = jax.tree.map(lambda x: x * fading, found)
            return found

        new = Means(step, tuple(first.values()), tuple(second.values()))
        return [value(term) for term in self.terms], new

    def _base(
        self,
        term: Term,
        grads: PyTree[Array],
        params: PyTree[Array],
        first: dict[float, PyTree[Array]],
        before: dict[float, PyTree[Array]],
        step: Array,
    ) -> PyTree[Array]:
        if term.of == "gradient":
            return grads
        if term.of == "parameter":
            return params
        if term.of == "one":
            return jax.tree.map(jnp.ones_like, grads)
        assert term.decay is not None
        if term.of == "interpolation":
            weight = term.interpolation
            assert weight is not None
            return jax.tree.map(
                lambda m, g: weight * m + (1 - weight) * g, before[term.decay], grads
            )
        mean = first[term.decay]
        if not term.corrected:
            return mean
        correction = 1 - term.decay**step
        return jax.tree.map(lambda m: m / correction, mean)


_PROGRAM = '''"""{summary}"""

import jax
import jax.numpy as jnp
import optax

DECAYS, SECOND_DECAYS = {decays}, {second_decays}
NUM_STEPS = {num_steps}


def distilled() -> optax.GradientTransformation:
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        first = {{decay: zeros for decay in DECAYS}}
        return jnp.zeros((), jnp.int32), first, {{decay: zeros for decay in SECOND_DECAYS}}

    def update(grads, state, params=None):
        step, first, second = state
        t, before = step + 1, first
        params = jax.tree.map(jnp.zeros_like, grads) if params is None else params
        first = {{
            d: jax.tree.map(lambda m, g: d * m + (1 - d) * g, first[d], grads) for d in first
        }}
        second = {{
            d: jax.tree.map(lambda v, g: d * v + (1 - d) * g * g, second[d], grads) for d in second
        }}

        def one(g, p, before, m, v):
            return (
{body}
            )

        def across(trees):
            leaves = {{d: jax.tree.leaves(trees[d]) for d in trees}}
            return [{{d: leaves[d][i] for d in leaves}} for i in range(len(jax.tree.leaves(grads)))]

        leaves, structure = jax.tree.flatten(grads)
        means = across(before), across(first), across(second)
        columns = zip(leaves, jax.tree.leaves(params), *means)
        updates = jax.tree.unflatten(structure, [one(*column) for column in columns])
        return updates, (t, first, second)

    return optax.GradientTransformation(init, update)
'''


def _expression(term: Term) -> str:
    base = {"gradient": "g", "parameter": "p", "one": "jnp.ones_like(g)"}.get(term.of)
    if term.of == "momentum":
        base = f"m[{term.decay!r}]"
        if term.corrected:
            base = f"{base} / (1 - {term.decay!r} ** t)"
    if term.of == "interpolation":
        assert term.interpolation is not None
        weight = term.interpolation
        base = f"{weight!r} * before[{term.decay!r}] + (1 - {weight!r}) * g"
    assert base is not None
    text = f"jnp.sign({base})" if term.sign else f"({base})"
    if (decay := term.second_decay) is not None:
        text += f" / (jnp.sqrt(v[{decay!r}] / (1 - {decay!r} ** t)) + {_EPSILON!r})"
    return text + (f" * jnp.exp(-{_EARLY!r} * (t - 1) / NUM_STEPS)" if term.early else "")


def _source(optimizer: FormulaOptimizer) -> str:
    lines = [
        f"{float(str(np.float32(coefficient)))!r} * {_expression(term)}"
        for coefficient, term in zip(optimizer.coefficients, optimizer.terms, strict=True)
    ]
    body = "\n".join(f"                {'+ ' if number else ''}{line}"
                     for number, line in enumerate(lines))  # fmt: skip
    return _PROGRAM.format(
        summary="Fitted to the updates of another optimizer, coordinate by coordinate.",
        decays=optimizer._decays, second_decays=optimizer._second_decays,
        num_steps=optimizer.num_steps, body=body,
    )  # fmt: skip


class _Coordinates(Probe):
    """Gradients, updates and parameters of some coordinates at every step."""

    def measure(self, record: StepRecord) -> Float[Array, "3 coordinates"]:
        total = size(record.params)
        count = min(_COORDINATES, total)
        chosen = np.sort(np.random.default_rng(0).permutation(total)[:count])
        trees = (record.grads, record.updates, record.params)
        return jnp.stack([ravel_pytree(tree)[0][chosen] for tree in trees])


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
def _term_values(
    optimizer: FormulaOptimizer,
    gradients: Float[Array, "steps columns"],
    params: Float[Array, "steps columns"],
) -> Float[Array, "steps columns terms"]:
    def step(state: Means, met: tuple[Array, Array]) -> tuple[Means, Array]:
        values, state = optimizer.values(met[0], state, met[1])
        return state, jnp.stack(values, axis=-1)

    return jax.lax.scan(step, optimizer.init(gradients[0]), (gradients, params))[1]


@Program
def _answers(
    optimizer: Optimizer,
    gradients: Float[Array, "steps columns"],
    params: Float[Array, "steps columns"],
) -> Float[Array, "steps columns"]:
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
        optimizer = FormulaOptimizer(jnp.zeros(len(terms)), tuple(terms), num_steps)
        found = _term_values(optimizer, jnp.asarray(met.gradients), jnp.asarray(met.params))
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


@dataclass(frozen=True)
class Formula:
    """A short formula in the place of an optimizer's update.

    Args:
        terms: the one that explains most first.
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
    before (orthogonal least squares), on the coordinates of runs of the optimizer itself. Other
    runs say how many terms are worth it: the fewest that explain within 0.5% of the best.

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
        candidates = [[*chosen, index] for index in range(len(terms)) if index not in chosen]
        gains = [fit.explained(some, fit.fit(some)) for some in candidates]
        chosen = candidates[int(np.argmax(gains))]
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
