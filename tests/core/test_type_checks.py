"""The tests would see a wrong type: of an argument, of what is returned, between the two."""

import jax.numpy as jnp
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Array, Float, PyTree

from optoscope._core.estimates import Estimate
from optoscope._core.trees import global_norm
from support.checking import checked


@checked
def scaled(
    values: Float[Array, " count"], factor: float, *, result: object = None
) -> Float[Array, " count"]:
    return factor * values if result is None else result


VALUES = jnp.ones(3)


def test_what_fits_passes():
    assert scaled(VALUES, 2).shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((jnp.ones((3, 1)), 1.0), {}),
        ((jnp.ones(3, int), 1.0), {}),
        ((VALUES, "2"), {}),
        ((VALUES, 1.0), {"result": 1.0}),
        ((VALUES, 1.0), {"result": jnp.ones(4)}),
        ((VALUES, 1.0), {"result": jnp.ones(3, int)}),
    ],
    ids=["shape", "type of numbers", "no number", "no array", "other length", "other numbers"],
)
def test_what_does_not_fit_is_found(arguments, options):
    with pytest.raises(BeartypeCallHintViolation):
        scaled(*arguments, **options)


def test_the_library_itself_is_checked():
    with pytest.raises(BeartypeCallHintViolation):
        global_norm({"a": 3.0})
    with pytest.raises(BeartypeCallHintViolation):
        Estimate(1.0, 0.5, 2.0, "3", "")


def test_names_of_dimensions_are_each_calls_own():
    @checked
    def twice(values: Float[Array, " count"]) -> Float[Array, ""]:
        return scaled(jnp.ones(5), 1.0)[0] + scaled(values, 1.0)[0]

    assert twice(VALUES) == 2


def test_functions_within_others_are_checked_each_with_its_own_variables():
    def adding(summand):
        @checked
        def add(values: Float[Array, " count"]) -> Float[Array, " count"]:
            return values + summand

        return add

    one, two, broken = adding(1.0), adding(2.0), adding(jnp.ones((2, 1)))
    assert one(VALUES)[0] == 2
    assert two(VALUES)[0] == 3
    for function, argument in ((two, 3.0), (broken, VALUES)):
        with pytest.raises(BeartypeCallHintViolation):
            function(argument)


@pytest.mark.parametrize(
    ("kind", "fits", "does_not"),
    [
        (PyTree[Array], {"a": VALUES, "b": (VALUES, None)}, {"a": VALUES, "b": 3.0}),
        (PyTree[Array | int], [VALUES, 3], [VALUES, 3.0]),
        (PyTree[float], {"a": 0.5, "b": 2}, {"a": 0.5, "b": "2"}),
        (PyTree[Float[Array, " count"]], (VALUES, jnp.zeros(3)), (VALUES, jnp.zeros(4))),
        (PyTree[Float[Array, "..."]], (VALUES, jnp.zeros(())), (VALUES, jnp.zeros(4, int))),
    ],
    ids=str,
)
def test_every_leaf_of_a_tree_is_looked_at(kind, fits, does_not):
    @checked
    def take(tree: kind) -> None:
        del tree

    take(fits)
    with pytest.raises(BeartypeCallHintViolation):
        take(does_not)
