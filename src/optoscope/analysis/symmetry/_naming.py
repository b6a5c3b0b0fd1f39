"""Which directions of a null space are generators that have a name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Array, Bool, Float, PyTree

from optoscope._core.programs import Program
from optoscope.analysis.symmetry._generators import Generators, stacked
from optoscope.analysis.symmetry._structures import (
    Leaf,
    Mixing,
    Side,
    bias_shifts,
    leaves_of,
    mixings,
    reader_shifts,
    rescales,
    scales,
    shared_shifts,
    sides_of,
    translations,
    untied,
)
from optoscope.tasks import Symmetry

# |Σ g_t ξ_t| over Σ |g_t ξ_t|: rounding below the first, a norm's epsilon at most the second.
NULL, NEAR = 1e-9, 3e-2
# Coefficients that were computed have an error of their own.
_FITTED = 1e3
_FEW_UNITS = 4
_INDEPENDENT = 1e-7
_SAME_SPACE = 1e-7
_MOST_UNTIED = 3000


@dataclass(frozen=True)
class Point:
    """Parameters, with rows of the Jacobian there.

    Args:
        params: the parameters.
        theta: the same as one vector.
        rows: of the Jacobian; zero where `live` is not.
        probes: a few random combinations of all rows.
        live: which parameters any row depends on.
    """

    params: PyTree
    theta: Float[np.ndarray, " params"]
    rows: Float[np.ndarray, "rows params"]
    probes: Float[np.ndarray, "probes params"]
    live: Bool[np.ndarray, " params"]

    def cancellation(self, vectors: scipy.sparse.csc_array) -> Float[np.ndarray, " vectors"]:
        """How far each vector is from null: the largest |Σ g_t v_t| over Σ |g_t v_t|."""
        sums = np.abs(self.probes @ vectors)
        terms = np.abs(self.probes) @ abs(vectors)
        ratio = np.divide(sums, terms, out=np.ones_like(sums), where=terms > 0)
        # A vector without any term moves dead parameters alone, which are named as such.
        return ratio.max(axis=0, initial=0.0)


@dataclass
class Names:
    """The directions named so far, orthonormalized one after the other.

    Args:
        live: directions are compared on these parameters alone.
    """

    live: Bool[np.ndarray, " params"]
    counts: dict[str, int] = field(default_factory=dict)
    fields: dict[str, list[Generators]] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    _vectors: list[scipy.sparse.csc_array] = field(default_factory=list)
    _factor: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, name: str, vectors: scipy.sparse.csc_array) -> np.ndarray:
        """Names the vectors that are independent of those before; returns which they are."""
        vectors = scipy.sparse.csc_array(vectors[self.live])
        norms = np.sqrt(vectors.power(2).sum(axis=0))
        kept = []
        for index in np.flatnonzero(norms > _INDEPENDENT * norms.max(initial=0.0)):
            one = vectors[:, [index]] / norms[index]
            if self._append(one):
                kept.append(index)
        self.labels += [name] * len(kept)
        if kept:
            self.counts[name] = self.counts.get(name, 0) + len(kept)
        return np.array(kept, int)

    def _append(self, one: scipy.sparse.csc_array) -> bool:
        known = scipy.sparse.hstack(self._vectors) if self._vectors else None
        products = np.zeros(0) if known is None else (known.T @ one).toarray()[:, 0]
        solved = scipy.linalg.solve_triangular(self._factor, products, lower=True)
        left = 1.0 - float(solved @ solved)
        if left <= _INDEPENDENT:
            return False
        size = len(solved)
        factor = np.zeros((size + 1, size + 1))
        factor[:size, :size] = self._factor
        factor[size, :size], factor[size, size] = solved, left**0.5
        self._factor = factor
        self._vectors = [scipy.sparse.csc_array(scipy.sparse.hstack([*self._vectors, one]))]
        return True

    def basis(self) -> Float[np.ndarray, "named live"]:
        """The named directions as orthonormal rows, on the live parameters."""
        if not self._vectors:
            return np.zeros((0, int(self.live.sum())))
        rows = self._vectors[0].T.toarray()
        return scipy.linalg.solve_triangular(self._factor, rows, lower=True)


def named_directions(
    points: Sequence[Point],
    declared: Mapping[str, Symmetry],
    limit: float,
    most: int | None,
    other_data: Callable[[], Point],
) -> tuple[Names, set[str]]:
    """Names what is null at all points, by declared symmetries first and by structure then.

    Args:
        points: the first is the one that is looked at; the others tell generators, which are
            null everywhere, from directions that are null at one point only.
        declared: the task's own symmetries.
        limit: of scalings, where the parameters were moved along them; see `Symmetry.limit`.
        most: how many directions there are in all, where that is known.
        other_data: the first point with rows from other data.

    Returns:
        The names, and the paths of the vectors that meet a query in an attention.
    """
    first = points[0]
    leaves, names = leaves_of(first.params), Names(first.live)
    sides = sides_of(leaves)

    def add(name: str, fields: Generators) -> None:
        null = np.ones(len(fields), bool)
        for point in points:
            null &= point.cancellation(fields.at(point.theta)) < NULL
        if not null.any():
            return
        chosen = fields.take(null)
        kept = names.add(name, chosen.at(first.theta))
        if len(kept):
            names.fields.setdefault(name, []).append(chosen.take(kept))

    for name, symmetry in declared.items():
        _add_declared(names, name, symmetry, points)
    add("translation", translations(leaves))
    add("bias_shift", shared_shifts(leaves))
    add("scale", _limited(scales(leaves, sides), limit))
    meeting: set[str] = set()
    for mixing in _likely(mixings(leaves, sides), points):
        before = len(names)
        name = mixing.name
        if name == "linear" and meeting:
            name = "value_output"
        add(name, mixing.generators())
        if name == "query_key" and len(names) > before:
            meeting |= {mixing.one.leaf.path, mixing.other.leaf.path}
    for generators_of in rescales(leaves, sides):
        # Most pairs of arrays have nothing to do with each other, as a few units show.
        few = generators_of(_FEW_UNITS)
        null = np.ones(len(few), bool)
        for point in points:
            null &= point.cancellation(few.at(point.theta)) < NULL
        if null.any():
            add("rescale", generators_of(None))
    add("bias_shift", bias_shifts(leaves, sides))
    if most is None or len(names) < most:
        _add_reader_shifts(names, leaves, sides, points)
        _add_untied(names, points, untied(leaves, sides))
    if most is None or len(names) < most:
        _add_directional(names, leaves, [first, other_data()])
    return names, meeting


def _limited(fields: Generators, limit: float) -> Generators:
    return Generators(
        fields.generator, fields.target, fields.source, fields.weight, fields.labels, limit
    )


@Program
def _generators(symmetry: Symmetry, params: PyTree[Array]) -> PyTree[Array]:
    """All generators, as the transpose of the contraction with them."""
    zero = jax.tree.map(jnp.zeros_like, params)
    _, transpose = jax.vjp(lambda vector: symmetry.contract(vector, params), zero)
    count = len(symmetry.labels(params))
    return jax.vmap(lambda one: transpose(one)[0])(jnp.eye(count, dtype=jnp.float64))


def _add_declared(names: Names, name: str, symmetry: Symmetry, points: Sequence[Point]) -> None:
    vectors, null = [], None
    for point in points:
        leaves = jax.tree.leaves(_generators(symmetry, point.params))
        rows = np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in leaves], axis=1)
        vectors.append(scipy.sparse.csc_array(rows.T))
        small = point.cancellation(vectors[-1]) < NULL
        null = small if null is None else null & small
    assert null is not None
    names.add(name, scipy.sparse.csc_array(vectors[0][:, np.flatnonzero(null)]))


def _likely(candidates: Iterator[Mixing], points: Sequence[Point]) -> Iterator[Mixing]:
    """Those of which a first row of generators has one that is null."""
    for mixing in candidates:
        fields = mixing.generators(first=1)
        null = np.ones(len(fields), bool)
        for point in points:
            null &= point.cancellation(fields.at(point.theta)) < NULL
        # A rescaling of one unit alone is no mixing.
        if null.sum() > 1 or (null.any() and len(null) == 1 and mixing.named):
            yield mixing


def _null_space(matrix: np.ndarray) -> np.ndarray:
    """The null space of a matrix with columns of length 1 or 0, as columns."""
    if matrix.shape[1] == 0:
        return np.zeros((0, 0))
    triangle = scipy.linalg.qr(matrix, mode="r")[0][: matrix.shape[1]]
    _, sizes, right = scipy.linalg.svd(triangle)
    padded = np.zeros(right.shape[0])
    padded[: len(sizes)] = sizes
    return right[padded < NULL * max(padded[0], 1e-300)].T


def _echelon(columns: np.ndarray) -> np.ndarray:
    """The same space, with as many zeros as elimination gives."""
    matrix, row = columns.T.copy(), 0
    for column in range(matrix.shape[1]):
        if row == len(matrix):
            break
        pivot = row + int(np.abs(matrix[row:, column]).argmax())
        if abs(matrix[pivot, column]) < _SAME_SPACE:
            continue
        matrix[[row, pivot]] = matrix[[pivot, row]]
        matrix[row] /= matrix[row, column]
        others = np.arange(len(matrix)) != row
        matrix[others] -= np.outer(matrix[others, column], matrix[row])
        row += 1
    matrix[np.abs(matrix) < _SAME_SPACE] = 0.0
    return matrix.T


def _add_untied(names: Names, points: Sequence[Point], fields: Generators) -> None:
    """Combinations of single scalings with the same coefficients at all points."""
    first = points[0]
    moving = (abs(first.probes) @ abs(fields.at(first.theta))).max(axis=0) > 0
    fields = fields.take(moving)
    if len(fields) > min(_MOST_UNTIED, *(len(point.rows) - 16 for point in points)):
        return
    coefficients = _common(fields, points[:2])
    new = fields.combined(coefficients, [_described(fields, c) for c in coefficients.T])
    null = np.ones(len(new), bool)
    for point in points:
        null &= point.cancellation(new.at(point.theta)) < _FITTED * NULL
    new = new.take(null)
    kept = names.add("rescale", new.at(first.theta))
    if len(kept):
        names.fields.setdefault("rescale", []).append(new.take(kept))


def _common(fields: Generators, points: Sequence[Point]) -> np.ndarray:
    """The coefficients, as columns, with which combinations of fields are null at all points."""
    matrix = np.concatenate([point.rows @ fields.at(point.theta) for point in points])
    lengths = np.linalg.norm(matrix, axis=0)
    lengths[lengths == 0] = 1.0
    return _echelon(_null_space(matrix / lengths) / lengths[:, None])


def _add_reader_shifts(
    names: Names, leaves: Sequence[Leaf], sides: Sequence[Side], points: Sequence[Point]
) -> None:
    """Shifts of what several layers read, each of which takes them back."""
    for vector in leaves:
        if len(vector.shape) not in (1, 2) or not vector.index.size:
            continue
        fields, each = reader_shifts(leaves, sides, vector)
        # What one unit shows is tried on all.
        coefficients = _common(fields.take(np.arange(each)), points[:2])
        for column in coefficients.T[coefficients[0] != 0]:
            units = np.kron(np.eye(vector.shape[-1]), column[:, None])
            new = fields.combined(units, fields.labels[::each])
            null = np.ones(len(new), bool)
            for point in points:
                null &= point.cancellation(new.at(point.theta)) < _FITTED * NULL
            new = new.take(null)
            kept = names.add("bias_shift", new.at(points[0].theta))
            if len(kept):
                names.fields.setdefault("bias_shift", []).append(new.take(kept))


def _described(fields: Generators, coefficients: np.ndarray) -> str:
    used = np.flatnonzero(coefficients)
    shown = [fields.labels[index] for index in used[:3]]
    return ", ".join(shown) + (f" and {len(used) - 3} more" if len(used) > 3 else "")


def _add_directional(names: Names, leaves: Sequence[Leaf], points: Sequence[Point]) -> None:
    """Linear dependences of a layer's inputs, and combinations of its outputs that nothing reads.

    They depend on other weights, so that they are null here and no generators with coefficients.
    """
    for leaf in leaves:
        if len(leaf.shape) != 2 or not leaf.index.size:
            continue
        for axis in (0, 1):
            lines = leaf.by(axis)
            biases = [one for one in leaves if one.shape == (lines.shape[1],)]
            own = [one for one in biases if one.parent == leaf.parent] or biases
            for more in ((), *((one,) for one in own)):
                entries = np.concatenate([lines, *(one.by(0).T for one in more)])
                for vectors in _directions(entries, points):
                    names.add("dependent_inputs" if axis == 0 else "unread_outputs", vectors)


def _directions(lines: np.ndarray, points: Sequence[Point]) -> Iterator[scipy.sparse.csc_array]:
    """Directions along the first axis of some entries that are null for each along the second."""
    columns = np.concatenate([point.rows[:, lines[:, 0]] for point in points])
    lengths = np.linalg.norm(columns, axis=0)
    usable = np.flatnonzero(lengths > 0)
    if len(usable) < 2 or len(columns) < len(usable) + 8:
        return
    null = _null_space(columns[:, usable] / lengths[usable]) / lengths[usable, None]
    for direction in null.T:
        columns_of = np.broadcast_to(np.arange(lines.shape[1]), (len(usable), lines.shape[1]))
        values = np.broadcast_to(direction[:, None], columns_of.shape)
        shape = (len(points[0].theta), lines.shape[1])
        entries = (values.ravel(), (lines[usable].ravel(), columns_of.ravel()))
        vectors = scipy.sparse.csc_array(entries, shape=shape)
        if all((point.cancellation(vectors) < _FITTED * NULL).all() for point in points):
            yield vectors


def joined(names: Names) -> dict[str, Generators]:
    """The generators of each name, as one set."""
    return {name: stacked(parts) for name, parts in names.fields.items()}
