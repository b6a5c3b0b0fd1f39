import typing
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope._core.kinds import check_kind, check_size

WIDTHS = tuple[int, ...]


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (int, [0, -3, np.int32(4)], [True, 1.5, "1", None, [1]], "a whole number"),
        (float, [0, 0.5, np.float32(1), jnp.asarray(0.1)], [True, "1", None], "a number"),
        (float | int, [0, 0.5], [True, "1"], "a number"),
        (bool, [True], [0, "true", None], "true or false"),
        (str | None, ["", None], [1, ["a"]], "a text or nothing"),
        (typing.Literal["a", "b"], ["a"], ["c", None, ["a"]], "one of 'a', 'b'"),
        (Path | None, [Path("x"), None], ["x", 1], "a path or nothing"),
        (
            WIDTHS,
            [(), [1, 2], (3,)],
            ["x", 3, [1.5], [None], [1] * 1001],
            "whole numbers in a list",
        ),
        (typing.Annotated[int, "more"], [1], ["1"], "a whole number"),
        (None, [None], [0, ""], "nothing"),
        (np.ndarray, [1, "x"], [], ""),
    ],
)
def test_values_and_types(hint, good, bad, words):
    for value in good:
        check_kind("it", value, hint)
    for value in bad:
        with pytest.raises(InvalidValueError, match=f"^it is .*; it must be {words}.$"):
            check_kind("it", value, hint)


def test_what_is_long_is_shown_in_short():
    for value in ("x" * 1000, 10**400, 10**10_000):
        with pytest.raises(InvalidValueError) as caught:
            check_kind("it", value, bool)
        assert len(str(caught.value)) < 120


def test_a_null_character():
    for value in ("a\0", Path("a\0")):
        with pytest.raises(InvalidValueError, match="must not hold a null character"):
            check_kind("it", value, type(value) if isinstance(value, str) else Path)


@pytest.mark.parametrize(
    "value", [2**32, -(2**32), 10**400, float("inf"), float("nan"), [1, 2**32], (1.0, float("inf"))]
)
def test_numbers_that_are_none(value):
    with pytest.raises(InvalidValueError, match=r"^it is .*; it must be"):
        check_size("it", value)


def test_other_numbers():
    for value in (0, 2**32 - 1, 1e308, [3, 4], "text", None, True, jnp.asarray(1.0)):
        check_size("it", value)
