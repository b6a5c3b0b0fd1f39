"""Generators that are affine functions of the parameters, many at once and sparse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, PyTree

from optoscope._core.roots import safe_root
from optoscope.tasks import Symmetry

# The source of what does not depend on the parameters.
CONSTANT = -1
_SUBSTEPS, _TERMS = 16, 14


@dataclass(frozen=True)
class Generators:
    """Vector fields ξ_g(θ)_t = Σ weight·θ[source], summed over the entries with (g, t).

    Shifts, scalings and products of a weight matrix with a constant one are of this kind, which
    is closed under linear combinations; the parameters are one flat vector here.

    Args:
        generator: which field an entry is of.
        target: which parameter it moves.
        source: which parameter it is proportional to; `CONSTANT` for none.
        weight: by what factor.
        labels: what each field belongs to.
        limit: see `Symmetry.limit`.
    """

    generator: Int[np.ndarray, " entries"]
    target: Int[np.ndarray, " entries"]
    source: Int[np.ndarray, " entries"]
    weight: Float[np.ndarray, " entries"]
    labels: tuple[str, ...]
    limit: float = 0.0

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, theta: Float[np.ndarray, " params"]) -> scipy.sparse.csc_array:
        """The fields at a point, one a column."""
        values = self.weight * np.append(theta, 1.0)[self.source]
        shape = (len(theta), len(self))
        return scipy.sparse.csc_array((values, (self.target, self.generator)), shape=shape)

    def take(self, chosen: Any) -> "Generators":
        """The fields with these indices, or where a mask holds, in their order."""
        chosen = np.arange(len(self))[chosen]
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        kept = place[self.generator] >= 0
        return Generators(
            place[self.generator[kept]], self.target[kept], self.source[kept], self.weight[kept],
            tuple(self.labels[index] for index in chosen), self.limit,
        )  # fmt: skip

    def combined(self, coefficients: np.ndarray, labels: Sequence[str]) -> "Generators":
        """Linear combinations: column p of the coefficients gives field p."""
        fields, new = np.nonzero(coefficients)
        order = np.argsort(self.generator, kind="stable")
        starts = np.searchsorted(self.generator[order], np.arange(len(self) + 1))
        pieces = [order[starts[field] : starts[field + 1]] for field in fields]
        lengths = [len(piece) for piece in pieces]
        entries = np.concatenate(pieces) if pieces else np.zeros(0, int)
        factors = np.repeat(coefficients[fields, new], lengths)
        return Generators(
            np.repeat(new, lengths), self.target[entries], self.source[entries],
            self.weight[entries] * factors, tuple(labels), self.limit,
        )  # fmt: skip


def stacked(parts: Sequence[Generators]) -> Generators:
    """The fields of all parts, one part after the other."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return Generators(
        np.concatenate(
            [part.generator + start for part, start in zip(parts, starts, strict=False)]
        ),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.weight for part in parts]),
        tuple(label for part in parts for label in part.labels),
        max(part.limit for part in parts),
    )


class AffineSymmetry(Symmetry):
    """The symmetry with the given affine generators; made by `analysis.symmetry.discover`.

    Args:
        generator: which generator an entry is of; entries are sorted by (generator, target).
        target: which parameter it moves, in the order in which the leaves are flattened.
        source: which parameter it is proportional to; the number of parameters for none.
        weight: by what factor.
        pair: which (generator, target) an entry is of.
        pair_generator: the generator of every such pair.
        names: what each generator belongs to.
        exact_from: see `Symmetry.limit`.
    """

    generator: Int[Array, " entries"]
    target: Int[Array, " entries"]
    source: Int[Array, " entries"]
    weight: Float[Array, " entries"]
    pair: Int[Array, " entries"]
    pair_generator: Int[Array, " pairs"]
    names: tuple[str, ...] = eqx.field(static=True)
    exact_from: float = eqx.field(static=True, default=0.0)

    @classmethod
    def of(cls, fields: Generators, num_params: int) -> "AffineSymmetry":
        """The symmetry with these generators."""
        order = np.lexsort((fields.target, fields.generator))
        generator, target = fields.generator[order], fields.target[order]
        source = np.where(fields.source == CONSTANT, num_params, fields.source)[order]
        first = np.append(True, (np.diff(generator) != 0) | (np.diff(target) != 0))
        first = first[: len(generator)]
        indices = (generator, target, source, np.cumsum(first) - 1, generator[first])
        generator, target, source, pair, pairs = (jnp.asarray(i, jnp.int32) for i in indices)
        weight = jnp.asarray(fields.weight[order], jnp.float32)
        return cls(generator, target, source, weight, pair, pairs, fields.labels, fields.limit)

    @property
    def limit(self) -> float:
        return self.exact_from

    def _entries(self, params: PyTree[Array]) -> Array:
        theta = _flat(params)
        return self.weight.astype(theta.dtype) * jnp.append(theta, 1.0)[self.source]

    def contract(self, vector: PyTree[Array], params: PyTree[Array]) -> Array:
        products = _flat(vector)[self.target] * self._entries(params)
        return jax.ops.segment_sum(products, self.generator, len(self.names))

    def norms(self, params: PyTree[Array]) -> Array:
        entries = self._entries(params)
        components = jax.ops.segment_sum(entries, self.pair, self.pair_generator.shape[0])
        squares = jnp.square(components)
        return safe_root(jax.ops.segment_sum(squares, self.pair_generator, len(self.names)))

    def transform(self, params: PyTree[Array], amounts: Array) -> PyTree[Array]:
        # The flow of one linear field in (θ, 1): its exponential, by short Taylor series.
        leaves, structure = jax.tree.flatten(params)
        theta = _flat(params)
        factors = amounts[self.generator] * self.weight.astype(theta.dtype) / _SUBSTEPS

        def derivative(extended: Array) -> Array:
            moved = jax.ops.segment_sum(factors * extended[self.source], self.target, theta.size)
            return jnp.append(moved, 0.0)

        def substep(_: Any, extended: Array) -> Array:
            term = extended
            for order in range(1, _TERMS + 1):
                term = derivative(term) / order
                extended = extended + term
            return extended

        moved = jax.lax.fori_loop(0, _SUBSTEPS, substep, jnp.append(theta, 1.0))[:-1]
        ends = np.cumsum([leaf.size for leaf in leaves])
        parts = jnp.split(moved, ends[:-1])
        shaped = [
            part.reshape(leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, shaped)

    def labels(self, params: PyTree) -> tuple[str, ...]:
        del params
        return self.names


def _flat(tree: PyTree[Array]) -> Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])
