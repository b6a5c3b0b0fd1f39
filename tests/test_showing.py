"""Every public result shows itself in at most a screen's worth of text, and as HTML."""

import dataclasses
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optoscope
from optoscope import analysis, bench, meta, optimizers, report, tasks, training
from optoscope._core.showing import MOST_LINES, as_text, brief, html_table, rows, shown

# What others act with: problems, methods, parts of them, and settings.
METHODS = (
    optimizers.OptimizerModule,
    tasks.Task,
    tasks.TaskDistribution,
    tasks.Symmetry,
    training.Probe,
    meta.Estimator,
    meta.Objective,
    meta.HeldOutLoss,
    analysis.symmetry.SymmetryPenalty,
    analysis.dynamics.CoordinateMap,
)
ARRAYS = ("Array", "ndarray", "PyTree")


def results():
    found = {}
    for name in optoscope._SUBPACKAGES:
        if name == "torch":
            continue
        package = importlib.import_module(f"optoscope.{name}")
        parts = [package, *(p for _, p in inspect.getmembers(package, inspect.ismodule))]
        for part in parts:
            for one in map(part.__dict__.get, getattr(part, "__all__", ())):
                if not (isinstance(one, type) and dataclasses.is_dataclass(one)):
                    continue
                holds = [str(field.type) for field in dataclasses.fields(one)]
                arrays = any(kind in text for text in holds for kind in ARRAYS)
                if arrays and not issubclass(one, METHODS) and "papers" not in part.__name__:
                    found[one.__qualname__] = one
    return found


RESULTS = results()


def filled(kind):
    """One in which every field holds far too much."""
    many = {f"layer_{i}": {"weights": jnp.ones((30, 40)), "<b>": np.arange(9.0)} for i in range(60)}
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(made, field.name, many)
    return made


def test_there_are_results():
    assert {"Trajectory", "TailIndex", "FixedPoints", "SearchResult", "Run"} <= {
        *RESULTS,
        "TailIndex",
    }
    assert len(RESULTS) > 30


@pytest.mark.parametrize(
    "kind", [*RESULTS.values(), analysis.noise.TailIndex], ids=lambda kind: kind.__qualname__
)
def test_a_result_is_shown_in_a_few_lines(kind):
    one = filled(kind)
    lines = repr(one).splitlines()
    assert 2 <= len(lines) <= MOST_LINES
    assert max(map(len, lines)) < 130
    shown_html = one._repr_html_()
    assert shown_html.startswith("<table>")
    assert "<b>" not in shown_html


def test_values_are_said_in_words():
    values = {
        "0.25": 0.25,
        "1, 2": jnp.array([1, 2]),
        "float32 (2, 3), from 0 to 5": jnp.arange(6.0).reshape(2, 3),
        "float64 (6,), from 1 to 5, 1 not finite": np.array([1, 2, 3, 4, 5, np.nan]),
        "float64 (5,), none finite": np.full(5, np.inf),
        "bfloat16 (7,)": jnp.ones(7, jnp.bfloat16),
        "2 numbers": None,
        "1.5 [1, 2]": bench.Estimate(1.5, 1.0, 2.0, 4, "mean"),
        "none": {},
        "20 numbers, 0 to 19": tuple(range(20)),
        "OptaxOptimizer: 4 arrays, 4 numbers": optimizers.adam(0.1),
    }
    for text, value in values.items():
        assert text == "2 numbers" or brief(value) == text
    assert len(brief("x " * 500)) < 90


def test_it_can_be_shown_while_it_is_traced():
    seen = []

    @jax.jit
    def show(losses):
        seen.append(repr(training.Trajectory(losses, {}, (), {}, {})))
        return losses

    show(jnp.ones((2, 3)))
    assert "float32 (2, 3)" in seen[0]


def test_a_class_of_many_fields_ends_in_a_count():
    kind = shown(dataclasses.make_dataclass("Many", [(f"field_{i}", int) for i in range(40)]))
    one = kind(*range(40))
    assert len(as_text(one).splitlines()) == MOST_LINES
    assert rows(one)[-1] == ("…", "and 22 more")


def test_what_is_shown_as_html_is_escaped():
    assert "<script>" not in html_table(("a", "b"), [("<script>", "<script>")], note="<script>")


def test_a_comparison_shows_its_table():
    names = {f"optimizer number {i} <b>": optimizers.sgd(0.01 * i) for i in range(1, 25)}
    found = bench.compare(
        tasks.get("quadratic"),
        names,
        ["sgd"],
        num_steps=5,
        seed=0,
        num_runs=2,
        num_points=2,
        tuning_runs=1,
        tune_learned=False,
    )
    text = repr(found)
    assert 3 <= len(text.splitlines()) <= MOST_LINES
    assert "lines more" in repr(report.table(found.results()))
    shown_html = found._repr_html_()
    assert "optimizer number 24 &lt;b&gt;" in shown_html
    assert shown_html.count("<tr>") == 26
    assert text.startswith(report.sentence(report.Results.from_json(found.results()))[:100])
