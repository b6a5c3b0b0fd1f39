"""Symmetries of a loss: what they are and how to declare one."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import InvalidValueError
from optoscope._core.hashes import hashable
from optoscope._core.roots import safe_root

# Takes the arrays of a parameter tree that a symmetry moves, each arranged with a leading axis of
# its K generators. It must be linear and only move entries about: indexing, transposing, reshaping.
Select = Callable[[PyTree[Array]], PyTree[Array]]


class Symmetry(eqx.Module):
    """K one-parameter groups of transformations of the parameters that leave a loss as it is.

    Moving the parameters θ along group k traces a curve; its velocity at θ is the generator
    ξ_k(θ). A gradient of the loss is orthogonal to every generator, an optimizer's update need
    not be: ⟨u, ξ_k(θ)⟩ is its deviation. Build one with `translation`, `scale` or `rescale`, put
    several together with `join`, or give any transformation at all to `from_action`.

    Source: paper A, section 3.1, equations 4 to 9.

    Example: declare what is special about your own model, in this case (w, b, v) ↦ v·relu(w·x + b)
    with two hidden units.
        >>> relu_units = rescale(lambda p: (p["w"], p["b"]), lambda p: p["v"], label="unit")
        >>> params = {
        ...     "w": jnp.array([[1.0, 2.0], [3.0, 0.0]]),  # (units, inputs)
        ...     "b": jnp.array([1.0, 1.0]),
        ...     "v": jnp.array([2.0, -1.0]),
        ... }
        >>> relu_units.contract(jax.tree.map(jnp.ones_like, params), params).tolist()
        [2.0, 5.0]
        >>> relu_units.labels(params)
        ('unit 0', 'unit 1')
    """

    @property
    def limit(self) -> float:
        """How far along itself it is exact to rounding; 0 if it is exact everywhere.

        A loss that has the symmetry but for a small constant (the epsilon of a batch norm) has it
        exactly in the limit of large parameters, which is reached by moving along the symmetry.
        """
        return 0.0

    @abc.abstractmethod
    def contract(
        self, vector: PyTree[Float[Array, "..."]], params: PyTree[Float[Array, "..."]]
    ) -> Float[Array, " generators"]:
        """⟨vector, ξ_k(params)⟩ for each k; no generator is materialized.

        Args:
            vector: a gradient or an update, in the structure of the parameters.
            params: the parameters before the update.
        """

    @abc.abstractmethod
    def norms(self, params: PyTree[Float[Array, "..."]]) -> Float[Array, " generators"]:
        """‖ξ_k(params)‖ for each k."""

    @abc.abstractmethod
    def transform(
        self, params: PyTree[Float[Array, "..."]], amounts: Float[Array, " generators"]
    ) -> PyTree[Float[Array, "..."]]:
        """The parameters moved by `amounts[k]` along each group: the loss must not change."""

    @abc.abstractmethod
    def labels(self, params: PyTree) -> tuple[str, ...]:
        """The part of the network that each generator belongs to, from the shapes of `params`."""


def _numbered(label: str, count: int) -> tuple[str, ...]:
    return (label,) if count == 1 else tuple(f"{label} {k}" for k in range(count))


def _per_generator(products: PyTree[Array]) -> Float[Array, " generators"]:
    """Sums over all leaves and over all but their leading axis."""
    sums = [jnp.sum(leaf, axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(products)]
    return jnp.sum(jnp.stack(sums), axis=0)


class _Selected(Symmetry):
    """Adds to the `moved` entries, or multiplies them and divides the `against` ones."""

    moved: Select = eqx.field(static=True)
    against: Select | None = eqx.field(static=True)
    additive: bool = eqx.field(static=True)
    label: str = eqx.field(static=True)
    exact_from: float = eqx.field(static=True, default=0.0)

    @property
    def limit(self) -> float:
        return self.exact_from

    def contract(self, vector: PyTree[Array], params: PyTree[Array]) -> Array:
        if self.additive:
            return _per_generator(self.moved(vector))

        def product(select: Select) -> Array:
            return _per_generator(jax.tree.map(jnp.multiply, select(vector), select(params)))

        result = product(self.moved)
        return result if self.against is None else result - product(self.against)

    def norms(self, params: PyTree[Array]) -> Array:
        if self.additive:
            return safe_root(_per_generator(jax.tree.map(jnp.ones_like, self.moved(params))))
        chosen = [self.moved(params)]
        if self.against is not None:
            chosen.append(self.against(params))
        return safe_root(_per_generator(jax.tree.map(jnp.square, chosen)))

    def transform(self, params: PyTree[Array], amounts: Array) -> PyTree[Array]:
        def spread(select: Select) -> PyTree[Array]:
            # The transpose of `select` puts each amount back where its entries came from.
            chosen, put_back = jax.vjp(select, params)

            def filled(leaf: Array) -> Array:
                column = amounts.reshape((-1,) + (1,) * (leaf.ndim - 1))
                return jnp.broadcast_to(column, leaf.shape).astype(leaf.dtype)

            return put_back(jax.tree.map(filled, chosen))[0]

        moves = spread(self.moved)
        if self.additive:
            return jax.tree.map(jnp.add, params, moves)
        if self.against is not None:
            moves = jax.tree.map(jnp.subtract, moves, spread(self.against))
        return jax.tree.map(lambda p, m: p * jnp.exp(m), params, moves)

    def labels(self, params: PyTree) -> tuple[str, ...]:
        leaves = jax.tree.leaves(jax.eval_shape(self.moved, params))
        return _numbered(self.label, leaves[0].shape[0])


class _Joined(Symmetry):
    """The generators of all `parts`, one part after the other."""

    parts: tuple[Symmetry, ...]

    @property
    def limit(self) -> float:
        return max(part.limit for part in self.parts)

    def contract(self, vector: PyTree[Array], params: PyTree[Array]) -> Array:
        return jnp.concatenate([part.contract(vector, params) for part in self.parts])

    def norms(self, params: PyTree[Array]) -> Array:
        return jnp.concatenate([part.norms(params) for part in self.parts])

    def transform(self, params: PyTree[Array], amounts: Array) -> PyTree[Array]:
        start = 0
        for part in self.parts:
            count = len(part.labels(params))
            params = part.transform(params, amounts[start : start + count])
            start += count
        return params

    def labels(self, params: PyTree) -> tuple[str, ...]:
        return tuple(label for part in self.parts for label in part.labels(params))


class _Action(Symmetry):
    """Any differentiable action; its generators are the derivative at amount zero."""

    action: Callable[[PyTree[Array], Array], PyTree[Array]] = eqx.field(static=True)
    count: int = eqx.field(static=True)
    label: str = eqx.field(static=True)

    def contract(self, vector: PyTree[Array], params: PyTree[Array]) -> Array:
        # The rows of the action's Jacobian are the generators: this is Jacobian times vector.
        zero = jnp.zeros(self.count, jax.tree.leaves(params)[0].dtype)
        _, pull_back = jax.vjp(lambda amounts: self.action(params, amounts), zero)
        return pull_back(vector)[0]

    def norms(self, params: PyTree[Array]) -> Array:
        zero = jnp.zeros(self.count, jax.tree.leaves(params)[0].dtype)

        def norm(k: Array) -> Array:
            direction = jnp.zeros_like(zero).at[k].set(1.0)
            _, generator = jax.jvp(lambda a: self.action(params, a), (zero,), (direction,))
            squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(generator)]
            return safe_root(jnp.sum(jnp.stack(squares)))

        return jax.lax.map(norm, jnp.arange(self.count))

    def transform(self, params: PyTree[Array], amounts: Array) -> PyTree[Array]:
        return self.action(params, amounts)

    def labels(self, params: PyTree) -> tuple[str, ...]:
        del params
        return _numbered(self.label, self.count)


def translation(select: Select, *, label: str = "generator") -> Symmetry:
    """Adding one number to all selected entries changes nothing: ξ_k = 1 on them, 0 elsewhere.

    Source: paper A, equations 10 to 12 (softmax: a column of the last layer, or its bias).

    Args:
        select: takes the entries that move together, as arrays whose leading axis counts the K
            generators. It must only move entries about, and take each at most once. Define it
            with `def` at module level where recompiling matters: a new lambda is a new function.
        label: what a generator belongs to, for reports; numbered when there are several.

    Example:
        >>> shift = translation(lambda p: p["bias"][None])
        >>> params = {"bias": jnp.array([1.0, 2.0, 4.0])}
        >>> shift.contract(params, params).tolist(), shift.transform(params, jnp.ones(1))["bias"][0]
        ([7.0], Array(2., dtype=float32))
    """
    return _Selected(select, None, True, label)


def scale(select: Select, *, label: str = "generator", limit: float = 0.0) -> Symmetry:
    """Multiplying all selected entries by one number changes nothing: ξ_k = θ on them.

    Moving by an amount a multiplies by exp(a).

    Source: paper A, equations 17 and 18 (weights and bias before a batch norm).

    Args:
        select: as for `translation`.
        label: what a generator belongs to.
        limit: see `Symmetry.limit`.

    Example:
        >>> norms = scale(lambda p: p["weights"].T)  # weights (inputs, outputs), one k an output
        >>> norms.norms({"weights": jnp.array([[3.0, 0.0], [4.0, 2.0]])}).tolist()
        [5.0, 2.0]
    """
    return _Selected(select, None, False, label, limit)


def rescale(incoming: Select, outgoing: Select, *, label: str = "generator") -> Symmetry:
    """Multiplying the incoming entries and dividing the outgoing ones changes nothing.

    ξ_k = θ on the incoming entries, −θ on the outgoing ones; moving by an amount a multiplies
    by exp(a) and exp(−a).

    Source: paper A, equations 14 and 15 (a neuron with a homogeneous activation).

    Args:
        incoming: as `select` for `translation`.
        outgoing: the same for what is divided; it takes none of the incoming entries of the
            same k.
        label: what a generator belongs to.
    """
    return _Selected(incoming, outgoing, False, label)


def join(*symmetries: Symmetry) -> Symmetry:
    """The symmetry with the generators of all the given ones, in their order.

    Raises:
        InvalidValueError: none given.
    """
    if not symmetries:
        raise InvalidValueError("join got no symmetry; give it at least one.")
    return symmetries[0] if len(symmetries) == 1 else _Joined(symmetries)


def from_action(
    action: Callable[[PyTree[Array], Array], PyTree[Array]],
    count: int = 1,
    *,
    label: str = "generator",
) -> Symmetry:
    """Any differentiable symmetry, from its transformation alone.

    Contracting costs one backward pass through `action`; the norms cost `count` forward ones, so
    for translations and scalings the builders made for them are much faster.

    Args:
        action: (params, amounts of shape (count,)) to transformed params; the identity at zero.
        count: the number K of generators.
        label: what a generator belongs to.

    Example: x² + y² does not change under rotations (paper A, figures 2 and 3).
        >>> def rotate(point, angle):
        ...     c, s = jnp.cos(angle[0]), jnp.sin(angle[0])
        ...     return jnp.array([[c, -s], [s, c]]) @ point
        >>> rotation, point = from_action(rotate), jnp.array([3.0, 1.0])
        >>> gradient, update = 2 * point, jnp.array([0.0, 1.0])
        >>> rotation.contract(gradient, point).tolist(), rotation.contract(update, point).tolist()
        ([0.0], [3.0])
    """
    if count < 1:
        raise InvalidValueError(f"count is {count}; a symmetry has at least 1 generator.")
    return _Action(hashable(action), count, label)
