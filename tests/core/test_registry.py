import pytest
from hypothesis import given
from hypothesis import strategies as st

from optoscope._core.errors import UnknownNameError
from optoscope._core.registry import Registry


def test_names_keep_the_order_of_registration():
    registry = Registry("thing")
    for name in ("b", "a", "c"):
        registry.register(name, name.upper())
    assert registry.names() == tuple(registry) == ("b", "a", "c")
    assert [registry[name] for name in registry] == ["B", "A", "C"]
    assert "a" in registry
    assert "d" not in registry


def test_register_returns_the_entry_and_takes_a_name_once():
    registry = Registry("thing")
    entry = object()
    assert registry.register("a", entry) is entry
    with pytest.raises(ValueError, match="thing 'a' is registered already"):
        registry.register("a", object())
    assert registry["a"] is entry


def test_a_misspelt_name_suggests_the_right_one():
    registry = Registry("thing")
    registry.register("digits-mlp-sigmoid", 1)
    registry.register("quadratic", 2)
    with pytest.raises(UnknownNameError, match="unknown thing 'quadratc'") as caught:
        registry["quadratc"]
    assert caught.value.suggestions == ["quadratic"]
    assert caught.value.__cause__ is None


@given(st.text())
def test_any_other_text_is_an_unknown_name(name):
    registry = Registry("thing")
    registry.register("a name", 1)
    if name != "a name":
        with pytest.raises(UnknownNameError):
            registry[name]
