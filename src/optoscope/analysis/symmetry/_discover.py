"""Symmetries found from a task's losses alone."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from optoscope._core.errors import UnknownNameError, check_count
from optoscope._core.keys import as_key, new_key
from optoscope._core.programs import Program
from optoscope._core.showing import shown
from optoscope.analysis.symmetry._dead import dead_names
from optoscope.analysis.symmetry._generators import AffineSymmetry, Generators
from optoscope.analysis.symmetry._jacobian import (
    Items,
    Outputs,
    as_float64,
    draw_items,
    generic,
    jacobian,
    with_varied,
)
from optoscope.analysis.symmetry._naming import (
    NEAR,
    NULL,
    Point,
    joined,
    named_directions,
)
from optoscope.analysis.symmetry._null_space import (
    LARGEST_NULL,
    balanced,
    basis_of,
    split,
    still_null,
)
from optoscope.analysis.symmetry._structures import leaves_of, scales, shifts, sides_of
from optoscope.tasks import Symmetry, Task, TaskDistribution, as_distribution, join

INPUTS = ("data", "generic")
_SPARE = 64
_FEWEST_EXAMPLES = 4096
_PROBES = 24
_SECOND_ROWS = 3100
_PROJECTED_ROWS, _PROJECTED_NUMBERS = 1000, 40_000_000
_ZERO = 1e-13
_FAR = 1e4
_DRAWS = 3


@shown
@dataclass(frozen=True)
class Discovery:
    """The directions at a point that change no example's loss to first order.

    Args:
        nullity: how many there are, named and unnamed; where `complete` is false, how many were
            named, and there may be more.
        gap: the smallest singular value of the Jacobian that counts over the largest that does
            not (over rounding, 1e-17 of the largest, where all count). Below 100 the count is not
            certain.
        named: how many belong to each kind of generator, in the order in which they were named;
            a direction is counted once, under the first name that explains it. "dead_inputs",
            "dead_units", "unused" and "dependent_inputs" are no symmetries, see `symmetric`.
        unnamed: how many belong to none.
        basis: orthonormal rows that span the directions, those of no name last. Parameters are
            in the order in which their arrays are flattened. By projections, only named ones,
            without dead parameters.
        names: the name of each row of the basis; "unnamed" for those without.
        method: "exact" by a singular value decomposition, or "projections".
        complete: whether `nullity` is all there is.
        unit: what a row of the Jacobian was: an "example", or a "batch", where the examples of a
            batch act on each other, as with a batch norm.
        num_items: how many different ones were used.
        inputs: "data"; "data, varied" where the data were too few; or "generic".
        num_params: the number of parameters.
        symmetries: the named generators as symmetries, for `deviations`, a probe or a penalty.
    """

    nullity: int
    gap: float
    named: dict[str, int]
    unnamed: int
    basis: Float[np.ndarray, "directions params"]
    names: tuple[str, ...]
    method: Literal["exact", "projections"]
    complete: bool
    unit: str
    num_items: int
    inputs: str
    num_params: int
    symmetries: dict[str, Symmetry]

    @property
    def symmetric(self) -> int:
        """The nullity without what is dead, unused, or missing in the data."""
        return self.nullity - sum(self.named.get(name, 0) for name in _NOT_SYMMETRIES)

    @property
    def symmetry(self) -> Symmetry:
        """All named generators as one symmetry.

        Raises:
            InvalidValueError: there are none.
        """
        return join(*self.symmetries.values())

    def __str__(self) -> str:
        bound = "" if self.complete else "at least "
        lines = [
            f"{bound}{self.nullity} of {self.num_params} directions change no loss ({self.method}, "
            f"{self.num_items} {self.unit}{'s' if self.unit == 'example' else 'es'}, {self.inputs}"
            f"; gap {self.gap:.1e})"
        ]
        lines += [f"  {count:5d} {name}" for name, count in self.named.items()]
        lines += [f"  {self.unnamed:5d} unnamed"] if self.unnamed else []
        return "\n".join(lines)


_NOT_SYMMETRIES = ("dead_inputs", "dead_units", "unused", "not_in_data")


def discover(
    task: Task | TaskDistribution,
    *,
    key: PRNGKeyArray | None = None,
    params: PyTree[Array] | None = None,
    outputs: Callable[[PyTree, PyTree], PyTree] | None = None,
    inputs: str = "data",
    exact_up_to: int = 5000,
) -> Discovery:
    """Finds the directions that leave the loss of every example as it is, and names them.

    Use it for a model whose symmetries nobody has declared; `verify` checks those that somebody
    has. Parameters are initial ones with noise, the examples are the task's own, and everything
    is in float64. Where the loss of a batch is not the mean (or sum) of those of its examples, as
    with a batch norm, whole batches take the place of examples.

    Math: with the rows g_i = ∇ℓ_i(θ), the null space {v : ⟨g_i, v⟩ = 0 for all i}. A direction
    is named if a vector field of the shape that the name says, and with the same coefficients, is
    null at three points. Names: "translation" (one number added along an axis), "scale",
    "rescale", "query_key" (B ∈ gl(d) between queries and keys), "value_output", "linear" (the
    same between any two layers), "bias_shift", "key_bias", "norm_translation" (a bias that a norm
    takes away), the names that the task declares, and what is no symmetry: "dead_inputs" (a pixel
    that is always 0), "dead_units", "unused", "dependent_inputs" (inputs that are always linearly
    dependent), "not_in_data" (what other inputs than the data would tell apart, such as pixels
    that are seldom bright), "unread_outputs" (combinations of units that nothing reads).

    A scaling before a norm is exact but for the norm's epsilon. The parameters are therefore
    moved along such scalings until it is below rounding, as `Symmetry.limit` says.

    The loss of a softmax knows the outputs only up to a common number, so that it has more
    symmetries than the network. To ask for those of the network give its `outputs`.

    Args:
        task: what to look at; from a distribution one task is drawn.
        key: PRNG key (seed 0 if not given).
        params: where to look instead of at random parameters: those of a trained model show
            which of its units are dead.
        outputs: `outputs(params, batch)`, arrays that must not change instead of the loss.
        inputs: "data", or "generic": numbers like the data's, but so that no pixel is always dark.
        exact_up_to: the most parameters for a singular value decomposition, which takes a minute
            for some 5,000. Above, a random projection decides whether the nullity is all that
            is there: it is if the rank is below the 1,000 rows (fewer for many parameters) that
            are projected on; if not, the named directions are counted, each of them tested.

    Raises:
        InvalidValueError: a task with one loss for all of its data and no `outputs`, a loss that
            is computed in single precision or has derivatives that are not finite.
        UnknownNameError: other inputs.

    Example:
        >>> from optoscope import data, tasks
        >>> task = tasks.mlp_classification(data.load("digits"), hidden=(3,), activation="relu")
        >>> found = discover(task)
        >>> found.named["translation"], found.named["rescale"], found.unnamed
        (4, 3, 0)
        >>> of_network = discover(task, outputs=lambda p, batch: task.network(p, batch.inputs))
        >>> found.symmetric, of_network.symmetric
        (7, 3)
    """
    if inputs not in INPUTS:
        raise UnknownNameError("kind of inputs", inputs, INPUTS)
    check_count("exact_up_to", exact_up_to, minimum=0)
    with jax.enable_x64(True):
        key = new_key(0) if key is None else as_key(key)
        task_key, point_key, item_key = jax.random.split(key, 3)
        sample = as_float64(as_distribution(task).sample(task_key))
        best: Discovery | None = None
        for draw in range(_DRAWS if params is None else 1):
            one = jax.random.fold_in(point_key, draw)
            search = _Search(sample, outputs, inputs, exact_up_to, item_key)
            start = _initial(sample, one) if params is None else params
            start = as_float64(jax.tree.map(jnp.asarray, start))
            found = search.found(start, draw, params is None)
            # At special points the rank is lower: what is generic is the least nullity.
            if best is None or found.nullity < best.nullity:
                best = found
            if found.unnamed == 0 and "dead_units" not in found.named:
                break
    assert best is not None
    return best


def _noisy(params: PyTree[Array], generator: np.random.Generator) -> PyTree[Array]:
    """Parameters moved off the special values (zeros, ones) that they may have."""

    def moved(leaf: Array) -> Array:
        values = np.asarray(leaf)
        size = float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
        return jnp.asarray(values + (0.3 * size or 0.1) * generator.normal(size=values.shape))

    return jax.tree.map(moved, params)


@Program
def _initial(task: Task, key: PRNGKeyArray) -> PyTree[Array]:
    return as_float64(task.init(key))


@dataclass
class _Search:
    """One search for the null space, around one point."""

    task: Task
    outputs: Outputs | None
    inputs: str
    exact_up_to: int
    key: PRNGKeyArray

    def found(self, start: PyTree[Array], draw: int, random: bool) -> Discovery:
        """What there is at a point near `start`, or at it."""
        generator = np.random.default_rng([*np.asarray(jax.random.key_data(self.key)), draw])
        params = _noisy(start, generator) if random else start
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        exact = size <= self.exact_up_to
        limit = min(_PROJECTED_ROWS, max(256, _PROJECTED_NUMBERS // size))
        wanted = size + _SPARE if exact else min(size + _SPARE, limit)
        rows = max(wanted, _FEWEST_EXAMPLES) if exact else wanted
        items = draw_items(
            self.task, params, self.outputs, wanted, max(wanted, _FEWEST_EXAMPLES), self.key
        )
        described = self.inputs
        others = generic(items, wanted, generator)
        if self.inputs == "generic":
            items = others
        point = self._point(params, items, rows, generator)
        if self._is_short(point, items, wanted):
            items, described = with_varied(items, wanted, generator), "data, varied"
            point = self._point(params, items, items.most_rows, generator)
        moved, factors = self._moved(point, items, rows, generator)
        limit = 0.0 if moved is None else math.log(_FAR**1.5)
        point = point if moved is None else moved
        # Three points: coefficients that fit at two by chance do not at the third.
        elsewhere = [_multiplied(_noisy(params, generator), factors) for _ in range(2)]
        # What is null for these data alone is no symmetry, so the second point has other data.
        rows = min(wanted, _SECOND_ROWS)
        points = [self._point(one, others, rows, generator) for one in elsewhere]
        return self._named(point, points, items, others, described, exact, limit)

    def _point(
        self, params: PyTree[Array], items: Items, wanted: int, generator: np.random.Generator
    ) -> Point:
        rows = jacobian(self.task, params, self.outputs, items, wanted, self.key)
        largest = np.abs(rows).max(axis=0, initial=0.0)
        live = largest > _ZERO * largest.max(initial=0.0)
        rows[:, ~live] = 0.0
        probes = generator.normal(size=(_PROBES, len(rows))) @ rows / math.sqrt(max(len(rows), 1))
        theta = np.asarray(ravel_pytree(params)[0])
        return Point(params, theta, rows, probes, live)

    def _is_short(self, point: Point, items: Items, wanted: int) -> bool:
        """Whether all rows are independent although there could be more, with more data."""
        if items.most_rows >= wanted or not jax.tree.leaves(items.batches):
            return False
        sizes = np.asarray(scipy.linalg.svdvals(balanced(point)[0].T))
        return bool(sizes.min(initial=np.inf) > LARGEST_NULL * sizes.max(initial=0.0))

    def _moved(
        self, point: Point, items: Items, wanted: int, generator: np.random.Generator
    ) -> tuple[Point | None, np.ndarray]:
        """The point moved along the scalings that are exact but for an epsilon, if there are."""
        leaves = leaves_of(point.params)
        fields = scales(leaves, sides_of(leaves))
        nearness = point.cancellation(fields.at(point.theta))
        near = _nearest(fields, nearness)
        factors = np.ones(len(point.theta))
        if not len(near):
            return None, factors
        away = factors.copy()
        away[near.target] = _FAR
        params = _multiplied(point.params, away)
        moved = self._point(params, items, wanted, generator)
        small = moved.cancellation(near.at(moved.theta)) < NULL
        return (moved, away) if small.any() else (None, factors)

    def _named(
        self,
        point: Point,
        elsewhere: list[Point],
        items: Items,
        others: Items,
        described: str,
        exact: bool,
        limit: float,
    ) -> Discovery:
        dead = int((~point.live).sum())
        nullity, gap, null = split(point)
        complete = exact or nullity > 0
        asks_loss = self.outputs is None and hasattr(self.task, "symmetries")
        declared = dict(self.task.symmetries(point.params)) if asks_loss else {}
        # The same parameters with other data tell what is missing there from what the model has.
        generator = np.random.default_rng(0)
        rows = min(len(point.theta), _SECOND_ROWS) + _SPARE
        other_data = functools.cache(lambda: self._point(point.params, others, rows, generator))
        names, meeting = named_directions(
            [point, *elsewhere], declared, limit, nullity if complete else None, other_data
        )
        dead_by_name = dead_names(leaves_of(point.params), point.live, meeting)
        counts = {name: len(entries) for name, entries in dead_by_name.items()}
        for name, number in names.counts.items():
            counts[name] = counts.get(name, 0) + number
        nullity = max(nullity, len(names)) if complete else len(names)
        basis, labels = basis_of(point, names, null if exact else None, nullity)
        unnamed = nullity - len(names)
        if unnamed and exact:
            rest = basis[len(names) : nullity]
            missing = unnamed - still_null(other_data(), rest)
            if missing:
                counts["not_in_data"] = missing
        fields = joined(names)
        fields |= {
            name: shifts(entries, leaves_of(point.params))
            for name, entries in dead_by_name.items()
            if name in ("key_bias", "norm_translation")
        }
        symmetries: dict[str, Symmetry] = {
            name: AffineSymmetry.of(each, len(point.theta)) for name, each in fields.items()
        }
        symmetries |= {name: one for name, one in declared.items() if name in counts}
        return Discovery(
            nullity + dead, gap, counts, unnamed - counts.get("not_in_data", 0), basis, labels,
            "exact" if exact else "projections", complete, items.unit, items.num_items,
            described, len(point.theta), symmetries,
        )  # fmt: skip


def _nearest(fields: Generators, nearness: np.ndarray) -> Generators:
    """The scalings that are almost null; with that bias, or none, which comes nearest to it."""
    best: dict[str, int] = {}
    for index in np.flatnonzero((nearness > NULL) & (nearness < NEAR)):
        label = fields.labels[index]
        name = label.partition("+")[0].partition(",")[0] + label.partition(",")[2]
        # Without a bias first; one before a batch norm changes nothing.
        if name not in best or 3 * nearness[index] < nearness[best[name]]:
            best[name] = int(index)
    return fields.take(np.array(sorted(best.values()), int))


def _multiplied(params: PyTree[Array], factors: np.ndarray) -> PyTree[Array]:
    flat, unravel = ravel_pytree(params)
    return unravel(flat * jnp.asarray(factors))
