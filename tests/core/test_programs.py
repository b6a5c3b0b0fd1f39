"""Compiled programs are forgotten when memory maps run short, and not before."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from optoscope._core import programs


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux only")
@pytest.mark.parametrize(("above", "compiled"), [(0.0, 2), (1.0, 1)])
def test_they_are_forgotten_above_a_share_of_the_maps(above: float, compiled: int):
    traces = []

    @jax.jit
    def double(x: jax.Array) -> jax.Array:
        traces.append(x)
        return 2 * x

    double(jnp.ones(3))
    programs.forget_programs(above)
    assert double(jnp.ones(3)).tolist() == [2, 2, 2]
    assert len(traces) == compiled


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(programs, "_USED", tmp_path / "none")
    monkeypatch.setattr(jax, "clear_caches", lambda: pytest.fail("forgotten"))
    programs.forget_programs(0.0)
