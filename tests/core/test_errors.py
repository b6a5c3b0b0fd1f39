import math

import numpy as np
import pytest

from optoscope._core import errors


def test_unknown_name_suggests_the_nearest_and_lists_all():
    error = errors.UnknownNameError("optimizer", "adm", ["sgd", "adam", "lion"])
    assert error.suggestions == ["adam"]
    assert str(error) == "unknown optimizer 'adm'. Did you mean 'adam'? Known: adam, lion, sgd."


def test_unknown_name_with_nothing_near_has_no_hint():
    error = errors.UnknownNameError("task", "zzzz", ["digits", "mnist"])
    assert error.suggestions == []
    assert str(error) == "unknown task 'zzzz'. Known: digits, mnist."


@pytest.mark.parametrize(
    ("kind", "name", "ends"),
    [
        ("task", "mlp-30", "Did you mean 'mlp-3'"),
        ("task", "mlp-30", "`optoscope list tasks` shows what there is."),
        ("task", "zzzz", "unknown task 'zzzz'. `optoscope list tasks` shows what there is."),
        ("thing", "mlp-30", "?"),
        ("thing", "zzzz", "mlp-6 and 3 more."),
    ],
)
def test_many_names_are_not_all_listed(kind, name, ends):
    text = str(errors.UnknownNameError(kind, name, [f"mlp-{n}" for n in range(23)]))
    assert ends in text if ends.startswith("Did") else text.endswith(ends)
    assert len(text) < 250


def test_an_unknown_name_says_what_else_could_be_written():
    error = errors.UnknownNameError("thing", "zzzz", ["a"], more="FILE.py is taken too.")
    assert str(error) == "unknown thing 'zzzz'. Known: a. FILE.py is taken too."


def test_several_suggestions_are_joined_by_or():
    error = errors.UnknownNameError("task", "mlp-3", ["mlp-1", "mlp-2"])
    assert "'mlp-2' or 'mlp-1'" in str(error) or "'mlp-1' or 'mlp-2'" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidValueError,
        errors.DataError,
        errors.FileFormatError,
        errors.RunDirectoryError,
        errors.MetaTrainingDivergedError,
    ],
)
def test_every_error_is_an_optoscope_error(error):
    assert issubclass(error, errors.OptoscopeError)
    assert issubclass(errors.UnknownNameError, errors.OptoscopeError)


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (1, {"minimum": 1}),
        (2.5, {"minimum": 1, "maximum": 2.5}),
        (1e-30, {"minimum": 0, "exclusive_minimum": True}),
        (-3, {}),
    ],
)
def test_check_number_accepts_what_is_in_range(value, bounds):
    errors.check_number("size", value, **bounds)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"minimum": 1}, "size is 0; it must be at least 1."),
        (
            0,
            {"minimum": 0, "exclusive_minimum": True},
            "size is 0; it must be above 0.",
        ),
        (7, {"maximum": 6.5}, "size is 7; it must be at most 6.5."),
        (
            3.5,
            {"minimum": 1, "maximum": 2},
            "size is 3.5; it must be at least 1 and at most 2.",
        ),
        (math.nan, {}, "size is nan; it must be finite."),
        (math.inf, {"minimum": 1}, "size is inf; it must be at least 1."),
        (-math.inf, {}, "size is -inf; it must be finite."),
    ],
)
def test_check_number_says_what_was_got_and_what_is_allowed(value, bounds, message):
    with pytest.raises(errors.InvalidValueError) as caught:
        errors.check_number("size", value, **bounds)
    assert str(caught.value) == message


def test_check_number_refuses_an_integer_too_large_for_a_float():
    with pytest.raises(errors.InvalidValueError, match="size is 1000"):
        errors.check_number("size", 10**400, minimum=1)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20, 1.0, "0", True, None, float("nan")])
def test_a_seed_is_a_whole_number_of_32_bits(seed):
    with pytest.raises(
        errors.InvalidValueError, match=r"seed is .* whole number from 0 to 4294967295"
    ):
        errors.check_seed(seed)


def test_a_seed_of_numpy_is_one():
    assert [errors.check_seed(np.uint32(2**32 - 1)), errors.check_seed(np.int64(3))] == [
        2**32 - 1,
        3,
    ]
