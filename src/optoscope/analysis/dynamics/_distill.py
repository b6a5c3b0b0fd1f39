"""Distillation: the simplest explicit optimizer that keeps most of a learned one's gain."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import jax
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.inference import Estimate, difference
from optoscope._core.keys import as_key
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, coordinate_map
from optoscope.analysis.dynamics._explicit import ExplicitOptimizer
from optoscope.analysis.dynamics._fits import fit_adaptation, fit_clipping, fit_schedule
from optoscope.analysis.dynamics._fixed_points import FixedPoints, fixed_points
from optoscope.analysis.dynamics._imitation import Imitation
from optoscope.analysis.dynamics._linear_optimizer import aggregated_momentum
from optoscope.analysis.dynamics._linearize import linearize
from optoscope.analysis.dynamics._modes import Modes
from optoscope.analysis.dynamics._probes import StateProbe
from optoscope.optimizers import Optimizer, as_optax
from optoscope.tasks import Task, TaskDistribution
from optoscope.training import train

_MOST_STARTS = 500
_MOST_EXAMPLES = 8
_WORST = 10.0


@dataclasses.dataclass(frozen=True)
class Gain:
    """How much better than the baseline an optimizer is, over paired runs.

    Problems of one distribution differ in scale by orders of magnitude, and one run that
    diverges would outweigh all others; so what is averaged over runs is the logarithm. Where a
    loss is negative there is no logarithm, and differences are averaged.

    Args:
        loss: the mean loss over a run's steps, its geometric mean over runs (the arithmetic one
            where a loss is negative).
        gain: log(baseline's loss / its loss), the mean over runs (baseline's loss − its loss
            where one is negative).
        share: of the learned optimizer's gain.
    """

    loss: float
    gain: Estimate
    share: float


@shown
@dataclasses.dataclass(frozen=True)
class Distillation:
    """An explicit optimizer in the place of a learned one, and what each part of it is worth.

    Args:
        optimizer: the explicit one; `.source()` is its program.
        transformation: the same as an Optax transformation.
        source: that program, readable and self-contained.
        num_modes: modes kept; a conjugate pair is one.
        mechanisms: what is on beside momentum.
        sufficient: whether it reached the share that was asked for on the problems it was chosen
            on; if not it is the best that was found.
        gains: on fresh problems: "learned", "baseline", "distilled", "everything" (all modes and
            mechanisms as they were read off, without imitation), and "without …" for each part
            of the distilled one.
        modes: of the learned optimizer at its fixed point.
    """

    optimizer: ExplicitOptimizer
    transformation: optax.GradientTransformationExtraArgs
    source: str
    num_modes: int
    mechanisms: tuple[str, ...]
    sufficient: bool
    gains: dict[str, Gain]
    modes: Modes


def _losses(
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    num_steps: int,
    num_runs: int,
    key: PRNGKeyArray,
) -> Float[np.ndarray, " runs"]:
    losses = np.asarray(
        train(task, optimizer, num_steps, key=key, num_runs=num_runs).losses, np.float64
    )
    # A run that ends at ten times its first loss has failed, and larger losses are clipped to that.
    # A loss that may be negative has no such factor, and the runs' sizes are used instead.
    first = losses[:, 0]
    negative = losses.min(where=np.isfinite(losses), initial=0.0) < 0
    size = np.mean(np.abs(first)) if negative else np.abs(first)
    return np.fmin(losses.mean(axis=1), first + (_WORST - 1) * size)


def _gains(losses: dict[str, np.ndarray]) -> dict[str, Gain]:
    """Gains over "baseline", shares of that of "learned"; runs are paired."""
    logarithmic = all((values >= 0).all() for values in losses.values())
    if logarithmic:
        tiny = np.finfo(np.float32).tiny
        losses = {name: np.log(np.maximum(values, tiny)) for name, values in losses.items()}
    whole = float(np.mean(losses["baseline"] - losses["learned"]))
    gains = {}
    for name, values in losses.items():
        gain = difference(losses["baseline"], values)
        loss = float(values.mean())
        gains[name] = Gain(math.exp(loss) if logarithmic else loss, gain, gain.value / whole)
    return gains


def _settled(coordinates: CoordinateMap, states: np.ndarray) -> FixedPoints:
    """The fixed points for no gradient that visited states lead to."""
    flat = states.reshape(-1, coordinates.size)
    flat = flat[np.isfinite(flat).all(axis=1)]
    chosen = np.linspace(0, len(flat) - 1, min(len(flat), _MOST_STARTS)).astype(int)
    found = fixed_points(coordinates, flat[chosen])
    if len(found) == 0:
        raise InvalidValueError(
            "no fixed point was found from the visited states, so there is nothing to linearize "
            "around; this optimizer cannot be distilled to momentum."
        )
    return found


def _everything(
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    num_steps: int,
    num_runs: int,
    key: PRNGKeyArray,
) -> tuple[Modes, ExplicitOptimizer]:
    """All modes and all mechanisms, fitted to the map over what runs have met."""
    run = train(
        task,
        optimizer,
        num_steps,
        key=key,
        num_runs=min(num_runs, 8),
        probes={"visited": StateProbe(every=max(1, num_steps // 50), num_coordinates=16)},
    )
    visited = run.records["visited"]
    sizes = np.abs(np.asarray(visited.gradients, np.float64))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if sizes.size == 0:
        raise InvalidValueError("the runs met no gradient other than 0; nothing can be fitted.")
    span = (float(np.quantile(sizes, 0.05)), float(np.quantile(sizes, 0.999)))
    span = (min(span[0], span[1] / 10), span[1])
    coordinates = coordinate_map(optimizer)
    state = _settled(coordinates, np.asarray(visited.states, np.float64)).points[0]
    modes = linearize(coordinates, state).modes()
    slowest = np.abs(modes.timescales[modes.shares > 0.05]).max(initial=0.0)
    momentum = aggregated_momentum(modes)
    # The update where nothing happens is a drift of the fit more than a mechanism; it is kept.
    explicit = ExplicitOptimizer(
        momentum,
        fit_clipping(coordinates, state, span),
        fit_schedule(coordinates, state, num_steps, span[1] / 10),
        fit_adaptation(coordinates, state, span, float(min(slowest, 0.99))),
    )
    return modes, explicit


def _candidates(
    modes: Modes, everything: ExplicitOptimizer, most_modes: int
) -> list[tuple[int, ExplicitOptimizer]]:
    """All combinations, the ones with the fewest parts first."""
    names = everything.mechanisms
    most_modes = min(most_modes, len(modes.groups))
    found = []
    for keep in range(1, most_modes + 1):
        momentum = aggregated_momentum(modes, keep=keep)
        for count in range(len(names) + 1):
            for chosen in itertools.combinations(names, count):
                parts = {name: getattr(everything, name) for name in chosen}
                found.append((keep, ExplicitOptimizer(momentum, **parts)))
    return sorted(found, key=lambda entry: entry[0] + len(entry[1].mechanisms))


def _extended(
    candidate: ExplicitOptimizer,
    keep: int,
    refined: dict[tuple[int, tuple[str, ...]], ExplicitOptimizer],
) -> list[ExplicitOptimizer]:
    """Refined programs of one mechanism less, with the candidate's reading of that one."""
    found = []
    for name in candidate.mechanisms:
        rest = tuple(other for other in candidate.mechanisms if other != name)
        if (keep, rest) in refined:
            smaller = refined[keep, rest]
            found.append(dataclasses.replace(smaller, **{name: getattr(candidate, name)}))
    return found


def distill(
    optimizer: Optimizer,
    task: Task | TaskDistribution,
    *,
    baseline: Optimizer,
    key: PRNGKeyArray,
    share: float = 0.9,
    num_steps: int = 200,
    num_runs: int = 64,
    most_modes: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Distillation:
    """Approximates a learned optimizer by a short program of named mechanisms.

    Its parts are read off the optimizer's map: the modes at the fixed point, soft clipping from
    the update function there, a schedule from the autonomous trajectory, and a rate that falls
    with the gradient from the fixed points of other gradients. Combinations are tried from the
    fewest parts on, each after its numbers were refined by imitation: where a reading is only
    local (a slope, a mode at the fixed point), least squares on the learned optimizer's updates
    over whole runs says what serves best. The first that keeps the share is evaluated on fresh
    problems, where each of its parts is switched off in turn. "Without momentum" each velocity
    becomes its long-run value at once, so that what is lost is the memory and not the rate.

    Args:
        optimizer: component-wise, with a state.
        task: what it is for.
        baseline: tuned momentum (or another), which the gain is measured against.
        key: PRNG key; fits, choice and evaluation draw different problems.
        share: of the learned optimizer's gain over the baseline that is to be kept, at most 1.
        num_steps: steps per run; the mean loss over them is what counts, as in `Gain`.
        num_runs: runs, for the choice and again for the evaluation.
        most_modes: the most modes to try.
        on_progress: called with (combinations tried, combinations in all).

    Raises:
        InvalidValueError: an optimizer that does not beat the baseline, that has no state or no
            fixed point, or numbers out of range.
    """
    check_number("share", share, minimum=0, maximum=1, exclusive_minimum=True)
    check_count("num_steps", num_steps, minimum=2)
    check_count("num_runs", num_runs, minimum=2)
    check_count("most_modes", most_modes, minimum=1)
    fit_key, imitation_key, choice_key, fresh_key = jax.random.split(as_key(key), 4)
    modes, everything = _everything(optimizer, task, num_steps, num_runs, fit_key)

    def measure(candidates: dict[str, Optimizer], key: PRNGKeyArray) -> dict[str, np.ndarray]:
        return {
            name: _losses(candidate, task, num_steps, num_runs, key)
            for name, candidate in candidates.items()
        }

    ends: dict[str, Optimizer] = {"learned": optimizer, "baseline": baseline}
    losses = measure(ends, choice_key)
    first = _gains(losses)
    if first["learned"].gain.value <= 0:
        raise InvalidValueError(
            f"the optimizer's mean loss is {first['learned'].loss:.4g}, the baseline's "
            f"{first['baseline'].loss:.4g} (means over {num_runs} runs): there is no "
            "gain to keep a share of."
        )
    best, sufficient = (-np.inf, 0, everything), False
    imitation = Imitation(optimizer, task, num_steps, min(num_runs, _MOST_EXAMPLES), imitation_key)
    candidates = _candidates(modes, everything, most_modes)
    refined: dict[tuple[int, tuple[str, ...]], ExplicitOptimizer] = {}
    for tried, (keep, candidate) in enumerate(candidates):
        if on_progress is not None:
            on_progress(tried, len(candidates))
        candidate = refined[keep, candidate.mechanisms] = imitation(
            candidate, *_extended(candidate, keep, refined)
        )
        gains = _gains(losses | measure({"candidate": candidate}, choice_key))
        kept = gains["candidate"].share
        if kept > best[0]:
            best = (kept, keep, candidate)
        if kept >= share:
            sufficient = True
            break
    if on_progress is not None:
        on_progress(len(candidates), len(candidates))
    _, keep, chosen = best
    rivals = ends | {"distilled": chosen, "everything": everything}
    for name in ("momentum", *chosen.mechanisms):
        rivals[f"without {name}"] = chosen.without(name)
    return Distillation(
        chosen,
        as_optax(chosen),
        chosen.source(),
        keep,
        chosen.mechanisms,
        sufficient,
        _gains(measure(rivals, fresh_key)),
        modes,
    )
