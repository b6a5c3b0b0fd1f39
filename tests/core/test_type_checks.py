"""The tests would see a wrong type: of an argument, of what is returned, between the two."""

import jax.numpy as jnp
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Array, Float

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
