"""Distillation: the simplest explicit optimizer that keeps most of a learned one's gain."""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
import optax
from jaxtyping import Float, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_count, check_number
from optoscope._core.estimates import Estimate
from optoscope._core.keys import as_key
from optoscope._core.pairs import difference
from optoscope._core.pairs import share as share_of
from optoscope._core.showing import shown
from optoscope.analysis.dynamics._coordinates import CoordinateMap, coordinate_map
from optoscope.analysis.dynamics._explicit import ExplicitOptimizer
from optoscope.analysis.dynamics._fits import fit_adaptation, fit_clipping, fit_schedule
from optoscope.analysis.dynamics._fixed_points import FixedPoints, fixed_points
from optoscope.analysis.dynamics._formula import Formula
from optoscope.analysis.dynamics._formula_terms import FormulaOptimizer
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
        kept: the same with its interval.
    """

    loss: float
    gain: Estimate
    share: float
    kept: Estimate


@shown
@dataclasses.dataclass(frozen=True)
class Distillation:
    """An explicit optimizer in the place of another one, and what each part of it is worth.

    Args:
        optimizer: the explicit one; `.source()` is its program.
        transformation: the same as an Optax transformation.
        source: that program, readable and self-contained.
        num_modes: modes kept; a conjugate pair is one. 0 for a formula.
        mechanisms: what is on beside momentum; of a formula, what its terms use.
        sufficient: whether it reached the share that was asked for on the problems it was chosen
            on; if not it is the best that was found.
        gains: on fresh problems: "learned", "baseline", "distilled", "everything" (all modes and
            mechanisms as they were read off, without imitation), and "without …" for each part
            of the distilled one.
        costs: for each "without …" the gain that is lost with that part, over the same fresh
            problems. A part whose interval holds 0 does nothing that was measured, and is not
            named.
        modes: of the learned optimizer at its fixed point; None for a formula.
        formula: the update rule fitted by a short formula; None where it was not asked for.
        remaining: the share of squared updates that the program leaves, and where; see
            `remainder`.
    """

    optimizer: ExplicitOptimizer | FormulaOptimizer
    transformation: optax.GradientTransformationExtraArgs
    source: str
    num_modes: int
    mechanisms: tuple[str, ...]
    sufficient: bool
    gains: dict[str, Gain]
    costs: dict[str, Estimate]
    modes: Modes | None
    formula: Formula | None = None
    remaining: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def established(self) -> tuple[str, ...]:
        """The parts that cost something, beyond the interval, where they are switched off."""
        return tuple(name for name, cost in self.costs.items() if cost.has_ends and cost.low > 0)


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
    gained = {name: losses["baseline"] - values for name, values in losses.items()}
    gains = {}
    for name, values in losses.items():
        gain = difference(losses["baseline"], values)
        loss = float(values.mean())
        kept = share_of(gained[name], gained["learned"])
        gains[name] = Gain(math.exp(loss) if logarithmic else loss, gain, kept.value, kept)
    return gains


def _costs(losses: dict[str, np.ndarray], whole: str = "distilled") -> dict[str, Estimate]:
    """The gain that is lost with each part; in logarithms of losses where there are some."""
    logarithmic = all((values >= 0).all() for values in losses.values())
    tiny = np.finfo(np.float32).tiny

    def scaled(values: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(values, tiny)) if logarithmic else values

    return {
        name.removeprefix("without "): difference(scaled(values), scaled(losses[whole]))
        for name, values in losses.items()
        if name.startswith("without ")
    }


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


class _Choice:
    """Programs on the problems that they are chosen by, beside the optimizer and the baseline."""

    def __init__(
        self,
        measure: Callable[[dict[str, Optimizer]], dict[str, np.ndarray]],
        ends: dict[str, Optimizer],
        imitation: Callable[..., ExplicitOptimizer],
    ):
        self._measure, self._imitation = measure, imitation
        self._ends = measure(ends)
        self.first = _gains(self._ends)

    def refined(self, *starts: ExplicitOptimizer) -> tuple[ExplicitOptimizer, np.ndarray, float]:
        """A program with refined numbers, its losses, and the share of the gain that it keeps."""
        program = self._imitation(*starts)
        losses = self._measure({"candidate": program})["candidate"]
        return program, losses, _gains(self._ends | {"candidate": losses})["candidate"].share

    def pruned(
        self, program: ExplicitOptimizer, losses: np.ndarray, share: float
    ) -> tuple[ExplicitOptimizer, float]:
        """The program without the mechanisms that cost nothing beyond their interval."""
        needed: set[str] = set()
        while open_ones := [name for name in program.mechanisms if name not in needed]:
            others = {f"without {name}": program.without(name) for name in open_ones}
            costs = _costs({"distilled": losses} | self._measure(dict(others)))
            name = min(costs, key=lambda name: costs[name].value)
            if costs[name].has_ends and costs[name].low > 0:
                break
            smaller, its_losses, kept = self.refined(program.without(name))
            cost = _costs({"distilled": losses, "without it": its_losses})["it"]
            if cost.has_ends and cost.low > 0:
                needed.add(name)
            else:
                program, losses, share = smaller, its_losses, kept
        return program, share


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
    with the gradient from the fixed points of other gradients. A program of one mode and all
    mechanisms has its numbers refined by imitation: where a reading is only local (a slope, a mode
    at the fixed point), least squares on the learned optimizer's updates over whole runs says
    what serves best. More modes follow until the share is kept. Then mechanisms whose loss costs
    nothing, beyond its interval, are taken away. The rest is evaluated on fresh problems, where
    each of its parts is switched off in turn. "Without momentum" each velocity becomes its
    long-run value at once, so that what is lost is the memory and not the rate.

    Args:
        optimizer: component-wise, with a state.
        task: what it is for.
        baseline: tuned momentum (or another), which the gain is measured against.
        key: PRNG key; fits, choice and evaluation draw different problems.
        share: of the learned optimizer's gain over the baseline that is to be kept, at most 1.
        num_steps: steps per run; the mean loss over them is what counts, as in `Gain`.
        num_runs: runs, for the choice and again for the evaluation.
        most_modes: the most modes to keep.
        on_progress: called with (parts of the work done, parts in all).

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
    imitation = Imitation(optimizer, task, num_steps, min(num_runs, _MOST_EXAMPLES), imitation_key)
    choice = _Choice(lambda some: measure(some, choice_key), ends, imitation)
    first = choice.first
    if first["learned"].gain.value <= 0:
        raise InvalidValueError(
            f"the optimizer's mean loss is {first['learned'].loss:.4g}, the baseline's "
            f"{first['baseline'].loss:.4g} (means over {num_runs} runs): there is no "
            "gain to keep a share of."
        )
    most = min(most_modes, len(modes.groups))
    report = on_progress or (lambda *_: None)
    best: tuple[float, int, ExplicitOptimizer, np.ndarray] | None = None
    for keep in range(1, most + 1):
        report(keep - 1, most + 1)
        momentum = aggregated_momentum(modes, keep=keep)
        parts = {name: getattr(everything, name) for name in everything.mechanisms}
        starts = [ExplicitOptimizer(momentum, **parts)]
        if best is not None:
            refined = {name: getattr(best[2], name) for name in best[2].mechanisms}
            starts.append(ExplicitOptimizer(momentum, **refined))
        program, losses, kept = choice.refined(*starts)
        if best is None or kept > best[0]:
            best = (kept, keep, program, losses)
        if kept >= share:
            break
    assert best is not None
    report(most, most + 1)
    kept, keep, chosen, losses = best
    chosen, kept = choice.pruned(chosen, losses, kept)
    sufficient = kept >= share
    report(most + 1, most + 1)
    rivals = ends | {"distilled": chosen, "everything": everything}
    for name in ("momentum", *chosen.mechanisms):
        rivals[f"without {name}"] = chosen.without(name)
    fresh = measure(rivals, fresh_key)
    return Distillation(
        chosen,
        as_optax(chosen),
        chosen.source(),
        keep,
        chosen.mechanisms,
        sufficient,
        _gains(fresh),
        _costs(fresh),
        modes,
    )
