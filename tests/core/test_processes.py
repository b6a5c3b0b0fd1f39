"""With one process nothing waits and no error changes; `test_sharding` has the real ones."""

import jax
import jax.numpy as jnp
import pytest

from optoscope._core import processes
from optoscope._core.errors import InvalidValueError, ProcessLostError


def test_one_process_is_the_first_and_agrees_with_itself():
    assert processes.is_first()
    assert processes.agreed(3)
    assert processes.anyone(True)
    assert not processes.anyone(False)
    processes.wait_for_all("here")
    tree = {"a": jnp.ones(3)}
    assert processes.whole(tree) is tree


def test_one_process_keeps_its_errors():
    with pytest.raises(ValueError, match="UNKNOWN: Gloo"), processes.stops_with_the_others(""):
        raise ValueError("UNKNOWN: Gloo AllGather failed")


@pytest.mark.parametrize(
    "error", [ValueError("UNKNOWN: Gloo failed"), jax.errors.JaxRuntimeError("INTERNAL: lost")]
)
def test_a_failed_collective_becomes_a_message(monkeypatch, error):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with (
        pytest.raises(ProcessLostError, match=r"process 0 of 2 cannot go on.*Resume it\."),
        processes.stops_with_the_others("Resume it."),
    ):
        raise error


def test_other_errors_pass_with_several_processes_too(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InvalidValueError), processes.stops_with_the_others(""):
        raise InvalidValueError("horizon is 0; it must be at least 1.")
