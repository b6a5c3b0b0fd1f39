"""Candidate generators from the shapes of parameters alone: what a symmetry may look like."""

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Int, PyTree

from optoscope.analysis.symmetry._generators import CONSTANT, Generators

# Of the pairs of a family; a family with more entries is cut into several.
_MOST_MIXED = 128
_QUERY, _KEY, _VALUE, _OUTPUT = (
    re.compile(rf"(?:^|[^a-z])(?:w_?)?(?:{word})(?:[^a-z]|$)", re.IGNORECASE)
    for word in ("q|queries|query", "k|keys|key", "v|values|value", "o|out|outputs?")
)


@dataclass(frozen=True)
class Leaf:
    """One array of the parameters.

    Args:
        path: of the leaf, with dots.
        index: the positions of its entries in the flat vector of all parameters.
    """

    path: str
    index: Int[np.ndarray, "*shape"]

    @property
    def parent(self) -> str:
        """The path without its last part."""
        return self.path.rpartition(".")[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.index.shape

    def by(self, axis: int) -> Int[np.ndarray, "length rest"]:
        """The positions with one axis first and all others in one."""
        return np.moveaxis(self.index, axis, 0).reshape(self.shape[axis], -1)


@dataclass(frozen=True)
class Side:
    """Slices of one array that a unit's generator moves.

    Args:
        leaf: the array.
        slices: positions, one row a unit.
        role: "in" for the last axis of an array and for vectors (what leads into a unit),
            "out" for another axis; "any" for convenience of grouped axes.
        name: what reports call it.
    """

    leaf: Leaf
    slices: Int[np.ndarray, "units entries"]
    axis: int
    name: str


def leaves_of(params: PyTree[Array]) -> tuple[Leaf, ...]:
    """The arrays of a parameter tree, in the order in which it is flattened."""
    found, start = [], 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "params"
        index = np.arange(start, start + leaf.size).reshape(leaf.shape)
        found.append(Leaf(name, index))
        start += leaf.size
    return tuple(found)


def sides_of(leaves: Sequence[Leaf]) -> tuple[Side, ...]:
    """All axes of all arrays, and axes that hold the units of another array several times."""
    sides = []
    for leaf in leaves:
        if not leaf.shape:
            sides.append(Side(leaf, leaf.index.reshape(1, 1), 0, leaf.path))
        for axis in range(len(leaf.shape)):
            name = leaf.path if len(leaf.shape) == 1 else f"{leaf.path} axis {axis}"
            sides.append(Side(leaf, leaf.by(axis), axis, name))
    lengths = {leaf.shape[-1] for leaf in leaves if len(leaf.shape) > 1}
    for side in tuple(sides):
        length = len(side.slices)
        for units in sorted(lengths):
            if len(side.leaf.shape) < 2 or not 1 < units < length or length % units:
                continue
            blocks = side.slices.reshape(length // units, units, -1)
            last = np.moveaxis(blocks, 1, 0).reshape(units, -1)
            first = side.slices.reshape(units, -1)
            sides.append(Side(side.leaf, last, side.axis, f"{side.name} by {units}"))
            sides.append(Side(side.leaf, first, side.axis, f"{side.name} in blocks of {units}"))
    return tuple(sides)


class Entries:
    """Collects the entries of generators."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, ...]] = []
        self.labels: list[str] = []

    def add(self, labels: Sequence[str]) -> int:
        """Opens new generators; returns the index of the first."""
        self.labels.extend(labels)
        return len(self.labels) - len(labels)

    def put(
        self, generator: np.ndarray, target: np.ndarray, source: np.ndarray | int, weight: float
    ) -> None:
        """Adds entries; the arrays are broadcast against each other."""
        generator, target, source = np.broadcast_arrays(generator, target, source)
        self._parts.append(
            (generator.ravel(), target.ravel(), source.ravel(), np.full(target.size, weight))
        )

    def generators(self) -> Generators:
        """What was collected."""
        empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros(0))
        parts = [np.concatenate(column) for column in zip(empty, *self._parts, strict=True)]
        numbers, targets, sources = (part.astype(int) for part in parts[:3])
        return Generators(numbers, targets, sources, parts[3], tuple(self.labels))


def _rows(start: int, count: int) -> np.ndarray:
    return (start + np.arange(count))[:, None]


def translations(leaves: Sequence[Leaf]) -> Generators:
    """One number added along an axis of an array: what a softmax or the mean of a norm ignores."""
    found = Entries()
    for leaf in leaves:
        for axis, length in enumerate(leaf.shape):
            if length < 2:
                continue
            lines = leaf.by(axis).T
            name = leaf.path if len(leaf.shape) == 1 else f"{leaf.path} along axis {axis}, line"
            numbered = [name] if len(lines) == 1 else [f"{name} {k}" for k in range(len(lines))]
            start = found.add(numbered)
            found.put(_rows(start, len(lines)), lines, CONSTANT, 1.0)
    return found.generators()


def _biases(leaves: Sequence[Leaf], side: Side) -> list[tuple[Leaf, ...]]:
    """No vector, or one that has an entry for each unit of a side: that of its own layer first."""
    units = len(side.slices)
    vectors = [one for one in leaves if one.shape == (units,) and one is not side.leaf]
    if len(side.leaf.shape) > 2:
        axis = side.axis
        vectors += [
            one for one in leaves
            if len(one.shape) == 2 and one.shape[-1] == units and axis == len(side.leaf.shape) - 1
            and one.shape[0] == side.leaf.shape[0] and one is not side.leaf
        ]  # fmt: skip
    own = [one for one in vectors if one.parent == side.leaf.parent]
    return [(), *((one,) for one in own or vectors)]


def scales(leaves: Sequence[Leaf], sides: Sequence[Side]) -> Generators:
    """One factor on what leads into a unit, on a whole array, or on a layer with its bias."""
    found = Entries()
    for side in sides:
        if len(side.leaf.shape) < 1 or " by " in side.name or " in blocks " in side.name:
            continue
        for more in _biases(leaves, side):
            name = "+".join([side.name, *(one.path for one in more)])
            start = found.add([f"{name}, unit {k}" for k in range(len(side.slices))])
            rows = _rows(start, len(side.slices))
            for slices in (side.slices, *(one.by(-1) for one in more)):
                found.put(rows, slices, slices, 1.0)
            whole = found.add([name])
            for slices in (side.slices, *(one.by(-1) for one in more)):
                found.put(np.array(whole), slices, slices, 1.0)
    return found.generators()


def _pairs(sides: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
    for one, other in itertools.combinations(sides, 2):
        if len(one.slices) == len(other.slices) and one.leaf is not other.leaf:
            yield one, other


def rescales(
    leaves: Sequence[Leaf], sides: Sequence[Side]
) -> Iterator[Callable[[int | None], Generators]]:
    """A factor on what leads into a unit, and its inverse on what reads it.

    Yields:
        For each pair of arrays a function to the generators of its first so many units.
    """
    for one, other in _pairs(sides):
        if max(len(one.leaf.shape), len(other.leaf.shape)) > 1:
            yield functools.partial(_rescales, leaves, one, other)


def _rescales(leaves: Sequence[Leaf], one: Side, other: Side, most: int | None) -> Generators:
    found = Entries()
    for first, second in ((one, other), (other, one)):
        # What is read by weights is a layer's output: its bias is scaled with it.
        for more in _biases(leaves, first):
            if any(leaf is second.leaf for leaf in more) or (first is other and not more):
                continue
            name = "+".join([first.name, *(leaf.path for leaf in more)])
            units = len(first.slices[:most])
            start = found.add([f"{name} / {second.name}, unit {k}" for k in range(units)])
            rows = _rows(start, units)
            for slices in (first.slices, *(leaf.by(-1) for leaf in more)):
                found.put(rows, slices[:most], slices[:most], 1.0)
            found.put(rows, second.slices[:most], second.slices[:most], -1.0)
    return found.generators()


def shared_shifts(leaves: Sequence[Leaf]) -> Generators:
    """A vector added in one place and taken away in another: two biases, or two embeddings."""
    found = Entries()
    for one, other in itertools.combinations(leaves, 2):
        if not one.shape or not other.shape or one.shape[-1] != other.shape[-1]:
            continue
        name = f"{one.path} − {other.path}, entry"
        start = found.add([f"{name} {k}" for k in range(one.shape[-1])])
        rows = _rows(start, one.shape[-1])
        found.put(rows, one.by(-1), CONSTANT, 1.0)
        found.put(rows, other.by(-1), CONSTANT, -1.0)
    return found.generators()


def bias_shifts(leaves: Sequence[Leaf], sides: Sequence[Side]) -> Generators:
    """A shift of a layer's bias that the next layer's bias takes back through its weights."""
    found = Entries()
    for side in sides:
        if len(side.leaf.shape) != 2 or " by " in side.name or " in blocks " in side.name:
            continue
        units, width = side.slices.shape
        for first in leaves:
            if first.shape != (units,):
                continue
            for second in leaves:
                if second.shape != (width,) or second is first:
                    continue
                start = found.add(
                    [f"{first.path} / {side.name} / {second.path}, unit {k}" for k in range(units)]
                )
                rows = _rows(start, units)
                found.put(rows, first.by(-1), CONSTANT, 1.0)
                found.put(rows, second.index[None], side.slices, -1.0)
    return found.generators()


@dataclass(frozen=True)
class Mixing:
    """The generators M ↦ (A·M, −B·Mᵀ) of a pair of arrays that meet in one axis.

    Args:
        one: the array that M multiplies.
        other: the one that takes it back.
        more: vectors that are multiplied with the first, and with the second.
        heads: independent copies, along another axis of both arrays.
    """

    one: Side
    other: Side
    more: tuple[tuple[Leaf, ...], tuple[Leaf, ...]]
    heads: tuple[int, int] | None = None

    @property
    def named(self) -> str | None:
        """The family by the names of the arrays, where they say it."""
        one, other = self.one.leaf.path, self.other.leaf.path
        last = one.rpartition(".")[2], other.rpartition(".")[2]
        for first, second in (last, (one, other)):
            for name, words in (("query_key", (_QUERY, _KEY)), ("value_output", (_VALUE, _OUTPUT))):
                for a, b in (words, words[::-1]):
                    if a.search(first) and b.search(second):
                        return name
        return None

    @property
    def name(self) -> str:
        """The family by the names of the arrays, else by where they meet."""
        last = [side.axis == len(side.leaf.shape) - 1 for side in (self.one, self.other)]
        return self.named or ("query_key" if last[0] == last[1] else "linear")

    def generators(self, first: int | None = None) -> Generators:
        """All of them, or of the first rows of M alone."""
        found = Entries()
        units = len(self.one.slices)
        rows = units if first is None else min(first, units)
        heads = 1 if self.heads is None else self.one.leaf.shape[self.heads[0]]
        names = "+".join([self.one.name, *(leaf.path for leaf in self.more[0])])
        others = "+".join([self.other.name, *(leaf.path for leaf in self.more[1])])
        plus = [self._slices(self.one, 0), *(leaf.by(-1) for leaf in self.more[0])]
        minus = [self._slices(self.other, 1), *(leaf.by(-1) for leaf in self.more[1])]
        for head in range(heads):
            suffix = f", head {head}" if heads > 1 else ""
            start = found.add(
                [f"{names} / {others}{suffix}, {i} {j}" for i in range(rows) for j in range(units)]
            )
            number = start + np.arange(rows * units).reshape(rows, units, 1)
            for slices, sign in [(s, 1.0) for s in plus] + [(s, -1.0) for s in minus]:
                part = slices.reshape(units, heads, -1)[:, head] if heads > 1 else slices
                taken, kept = part[:rows, None], part[None, :]
                if sign > 0:  # A[:, j] += A[:, i]
                    found.put(number, kept, taken, sign)
                else:  # B[i, :] −= B[j, :]
                    found.put(number, taken, kept, sign)
        return found.generators()

    def _slices(self, side: Side, which: int) -> np.ndarray:
        if self.heads is None:
            return side.slices
        moved = np.moveaxis(side.leaf.index, (side.axis, self.heads[which]), (0, 1))
        return moved.reshape(len(side.slices), -1)


def mixings(leaves: Sequence[Leaf], sides: Sequence[Side]) -> Iterator[Mixing]:
    """All pairs of arrays that may meet in an axis, with the vectors that may belong to them."""
    for one, other in _pairs(sides):
        units = len(one.slices)
        if min(len(one.leaf.shape), len(other.leaf.shape)) < 2 or not 1 <= units <= _MOST_MIXED:
            continue
        heads: list[tuple[int, int] | None] = [None]
        if min(len(one.leaf.shape), len(other.leaf.shape)) > 2:
            heads += [
                (a, b)
                for a, b in itertools.product(
                    range(len(one.leaf.shape)), range(len(other.leaf.shape))
                )
                if a != one.axis and b != other.axis
                and one.leaf.shape[a] == other.leaf.shape[b] <= 64
                and math.prod(one.slices.shape) % one.leaf.shape[a] == 0
            ]  # fmt: skip
        for copies in heads:
            for more in itertools.product(_biases(leaves, one), _biases(leaves, other)):
                if any(leaf is side.leaf for leaf in more[0] + more[1] for side in (one, other)):
                    continue
                if more[0] and more[0] == more[1]:
                    continue
                if copies and any(len(leaf.shape) != 2 for leaf in more[0] + more[1]):
                    continue
                yield Mixing(one, other, more, copies)


def untied(leaves: Sequence[Leaf], sides: Sequence[Side]) -> Generators:
    """Every slice scaled by itself: for units with several readers."""
    found = Entries()
    seen = set()
    for side in sides:
        if " in blocks " in side.name or " by " in side.name:
            continue
        # The slices of two axes have the same sum: one of the second axis is left out.
        count = len(side.slices) - (side.leaf.path in seen)
        seen.add(side.leaf.path)
        start = found.add([f"{side.name}, unit {k}" for k in range(count)])
        found.put(_rows(start, count), side.slices[:count], side.slices[:count], 1.0)
    return found.generators()


def reader_shifts(
    leaves: Sequence[Leaf], sides: Sequence[Side], vector: Leaf
) -> tuple[Generators, int]:
    """A shift of each unit of an array, and what each layer that may read it would take back.

    The units are the last axis: entries of a bias, or columns of an embedding.

    Returns:
        The generators, unit by unit, with the shift itself first; and how many each unit has.
    """
    readers = [
        (side, second)
        for side in sides
        if len(side.leaf.shape) == 2 and len(side.slices) == vector.shape[-1]
        and side.leaf is not vector
        and " by " not in side.name and " in blocks " not in side.name
        for second in leaves
        if second.shape == side.slices.shape[1:] and second is not vector
    ]  # fmt: skip
    found = Entries()
    for unit in range(vector.shape[-1]):
        start = found.add([f"{vector.path} {unit}"] + ["" for _ in readers])
        found.put(np.array(start), vector.by(-1)[unit], CONSTANT, 1.0)
        for number, (side, second) in enumerate(readers, start + 1):
            found.put(np.array(number), second.index, side.slices[unit], -1.0)
    return found.generators(), 1 + len(readers)


def shifts(entries: Int[np.ndarray, " entries"], leaves: Sequence[Leaf]) -> Generators:
    """A shift of each of these parameters by itself."""
    names = {
        int(position): f"{leaf.path} {unit}"
        for leaf in leaves
        for unit, position in enumerate(leaf.index.ravel())
    }
    found = Entries()
    start = found.add([names[int(entry)] for entry in entries])
    found.put(start + np.arange(len(entries)), entries, CONSTANT, 1.0)
    return found.generators()
