"""The terms of short formulas for update rules, and the optimizer that a formula is."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from optoscope.optimizers import OptimizerModule

DECAYS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
SECOND_DECAYS = (0.9, 0.95, 0.99, 0.999)
# Of the means that Lion takes the sign of: the interpolation, and the mean's own decay.
INTERPOLATIONS = ((0.9, 0.99), (0.95, 0.98))
_EPSILON = 1e-8
_EARLY = 8.0


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
        columns = zip(leaves, structure.flatten_up_to(params), *means, strict=True)
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
