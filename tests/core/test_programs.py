"""How programs are compiled, and that they are forgotten when memory maps run short."""

from collections.abc import Iterator
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


def test_a_long_sweep_of_new_programs_forgets_the_old_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(programs, "_USED", tmp_path / "used")
    monkeypatch.setattr(programs, "_MOST", tmp_path / "most")
    monkeypatch.setattr(programs, "_COMPILATIONS_BETWEEN_LOOKS", 5)
    (tmp_path / "most").write_text("10")
    forgotten = []
    monkeypatch.setattr(jax, "clear_caches", lambda: forgotten.append(True))

    def sweep() -> None:
        for factor in range(programs._COMPILATIONS_BETWEEN_LOOKS + 1):
            assert programs.Program(lambda x, factor=factor: factor * x)(jnp.ones(3))[0] == factor

    (tmp_path / "used").write_text("map\n" * 4)
    sweep()
    assert forgotten == []
    (tmp_path / "used").write_text("map\n" * 6)
    sweep()
    assert forgotten


@pytest.fixture
def options_asked_anew() -> Iterator[None]:
    programs.compiler_options.cache_clear()
    yield
    programs.compiler_options.cache_clear()


WIDTH, LEVEL = "xla_cpu_prefer_vector_width", "xla_backend_optimization_level"


@pytest.mark.usefixtures("options_asked_anew")
@pytest.mark.parametrize(
    ("flags", "backend", "unoptimized", "known"),
    [
        ("", "cpu", False, {WIDTH: 512, LEVEL: 2}),
        (f"--{WIDTH}=256", "cpu", False, {LEVEL: 2}),
        (f"--{LEVEL}=3 --{WIDTH}=256", "cpu", False, {}),
        ("", "gpu", False, {}),
        ("", "cpu", True, {}),
    ],
)
def test_options_are_those_that_nobody_has_chosen(
    monkeypatch: pytest.MonkeyPatch, flags: str, backend: str, unoptimized: bool, known: dict
):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", unoptimized)
    try:
        assert programs.compiler_options() == known
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.usefixtures("options_asked_anew")
def test_an_option_that_this_xla_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(programs, "_OPTIONS", {"xla_cpu_of_another_year": 512})
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        assert programs.compiler_options() == {}
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def test_an_outermost_program_has_the_options_and_an_inner_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(
        programs, "compiler_options", lambda runs_once: {"xla_cpu_of_another_year": 512}
    )
    double = programs.Program(lambda x: 2 * x)
    for outermost in (double, lambda x: double.lower(x).compile()):
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_of_another_year"):
            outermost(jnp.ones(3))
    ones, fixed = jnp.ones(3), jnp.ones(3)
    assert jax.jit(double)(ones).tolist() == [2, 2, 2]
    assert jax.jit(lambda x: x + double(fixed))(ones).tolist() == [3, 3, 3]
    assert jax.vmap(double)(ones).tolist() == [2, 2, 2]
    assert jax.grad(lambda x: double(x).sum())(ones).tolist() == [2, 2, 2]
    assert jax.eval_shape(double, ones).shape == (3,)
