"""Distillation to a formula, for optimizers of any kind."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import PRNGKeyArray

from optoscope import optimizers
from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.keys import as_key
from optoscope.analysis.dynamics._coordinates import coordinate_map
from optoscope.analysis.dynamics._distill import Distillation, _costs, _gains, _losses
from optoscope.analysis.dynamics._formula import fitted_formula, remainder, trajectories
from optoscope.analysis.dynamics._formula_terms import formula_terms
from optoscope.analysis.dynamics._linearize import linearize
from optoscope.optimizers import LSTMOptimizer, Optimizer, StarOptimizer, as_optax
from optoscope.tasks import Task, TaskDistribution

_MOST_RUNS = 8
# Beyond so many entries of its state, an optimizer is no small recurrent map.
_LARGEST_STATE = 256


def is_recurrent(optimizer: Optimizer) -> bool:
    """Whether an optimizer is a small map of each coordinate's state with a linear readout.

    Those are distilled to momentum and mechanisms, by `distill`; all others to a formula, also
    those that divide gradients by their own size: at a gradient of 0 they have no linear map.
    """
    if isinstance(optimizer, LSTMOptimizer):
        return False
    try:
        coordinates = coordinate_map(optimizer)
    except Exception:  # one that needs whole arrays fails in its own way
        return False
    if coordinates.readout is None or not 0 < coordinates.size <= _LARGEST_STATE:
        return False
    try:
        linearize(coordinates, coordinates.initial_state)
    except InvalidValueError:
        return False
    return True


def _parts(optimizer: Optimizer) -> dict[str, Optimizer]:
    """An optimizer with one of its own parts switched off, where it says what they are."""
    if not (isinstance(optimizer, StarOptimizer) and optimizer.blackbox):
        return {}
    parts: dict[str, Optimizer] = {
        "learned correction": dataclasses.replace(optimizer, blackbox_scale=0.0)
    }
    if optimizer.nominal != "none":
        parts["nominal term"] = dataclasses.replace(optimizer, nominal_scale=0.0)
    return parts


def distill_formula(
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    *,
    key: PRNGKeyArray,
    share: float = 0.9,
    num_steps: int = 200,
    num_runs: int = 64,
    most_terms: int = 6,
    on_progress: Callable[[int, int], None] | None = None,
) -> Distillation:
    """Approximates an optimizer of any kind by a formula, and measures what its parts are worth.

    The baseline is to stand still, so that an optimizer need not beat any other one. The
    mechanisms are what the terms use: momentum, normalization by a second moment, signs, a
    schedule, weight decay. "Without" one of them is the best formula that can be written without
    it. Of STAR the "nominal term" and the "learned correction" are switched off in the optimizer
    itself, and what they cost is counted from it.

    Args:
        optimizer: any.
        task: what it is for.
        key: PRNG key; fit and evaluation draw different problems.
        share: of the gain over standing still that counts as enough.
        num_steps: steps per run; the mean loss over them is what counts, as in `Gain`.
        num_runs: runs of the evaluation.
        most_terms: the most terms of a formula.
        on_progress: called with (parts of the work done, parts in all).

    Raises:
        InvalidValueError: the optimizer never moves a parameter by a finite amount, or numbers
            out of range.
    """
    check_number("share", share, minimum=0, maximum=1, exclusive_minimum=True)
    check_count("num_steps", num_steps, minimum=2)
    check_count("num_runs", num_runs, minimum=2)
    report = on_progress or (lambda *_: None)
    report(0, 3)
    fit_key, held_key, fresh_key = jax.random.split(as_key(key), 3)
    runs = min(num_runs, _MOST_RUNS)
    met, held = (
        trajectories(optimizer, task, key=one, num_steps=num_steps, num_runs=runs)
        for one in (fit_key, held_key)
    )
    report(1, 3)
    found = fitted_formula(formula_terms(), met, held, most_terms=most_terms)
    rivals: dict[str, Optimizer] = {
        "learned": optimizer,
        "baseline": optimizers.sgd(0.0),
        "distilled": found.optimizer,
    }
    for name in found.mechanisms:
        terms = [term for term in formula_terms() if name not in term.mechanisms]
        without = fitted_formula(terms, met, held, most_terms=most_terms)
        rivals[f"without {name}"] = without.optimizer
    parts = {f"without {name}": one for name, one in _parts(optimizer).items()}
    report(2, 3)
    losses = {
        name: _losses(one, task, num_steps, num_runs, fresh_key)
        for name, one in (rivals | parts).items()
    }
    gains = _gains(losses)
    mine = {name: values for name, values in losses.items() if name not in parts}
    own = {name: losses[name] for name in ("learned", *parts)}
    report(3, 3)
    program = found.optimizer
    return Distillation(
        program,
        as_optax(program),
        program.source(),
        0,
        found.mechanisms,
        gains["distilled"].share >= share,
        gains,
        _costs(mine) | _costs(own, "learned"),
        None,
        found,
        remainder(program, held),
    )


def with_formula(
    found: Distillation,
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    *,
    key: PRNGKeyArray,
    num_steps: int,
    most_terms: int = 6,
) -> Distillation:
    """A distillation with the formula of the optimizer beside it, and what its program leaves.

    Args:
        found: of the same optimizer.
        optimizer: what was distilled.
        task: where it runs.
        key: PRNG key; fit and measurement draw different problems.
        num_steps: steps per run.
        most_terms: the most terms of the formula.
    """
    met, held = (
        trajectories(optimizer, task, key=one, num_steps=num_steps, num_runs=_MOST_RUNS)
        for one in jax.random.split(as_key(key))
    )
    return dataclasses.replace(
        found,
        formula=fitted_formula(formula_terms(), met, held, most_terms=most_terms),
        remaining=remainder(found.optimizer, held),
    )
