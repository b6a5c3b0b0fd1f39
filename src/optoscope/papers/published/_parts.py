"""What is measured of each optimizer, a part each."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from optoscope import training
from optoscope._core.errors import InvalidValueError
from optoscope._core.keys import new_key, stream
from optoscope.analysis import dynamics
from optoscope.analysis.noise import TailIndexProbe
from optoscope.analysis.quadratic import curvature_runs
from optoscope.analysis.symmetry import SymmetryProbe
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.published._setting import CONTESTANTS, HOME, Setting
from optoscope.tasks import Task

SIZES = np.geomspace(1e-4, 1e2, 13)
CURVATURES = np.geomspace(1e-2, 1e3, 26)
GRID, MODES, PLACES = 101, 6, 200
_SHAPE = (8, 8)
_AVERAGED = 0.98
PROBED = "leaky-relu"


class DrawnGradients(Task):
    """A task whose gradient is drawn: normal numbers of a given size, whatever the parameters.

    Math: loss(p, z) = 1 + s·Σ p z, so that the gradient is s·z.

    Args:
        size: s.
    """

    size: Float[Array, ""]

    def init(self, key: PRNGKeyArray) -> Float[Array, "8 8"]:
        """A matrix of zeros."""
        del key
        return jnp.zeros(_SHAPE)

    def sample_batch(self, key: PRNGKeyArray) -> Float[Array, "8 8"]:
        """Normal numbers."""
        return jax.random.normal(key, _SHAPE)

    def loss(self, params: Float[Array, "8 8"], batch: Float[Array, "8 8"]) -> Float[Array, ""]:
        """Linear in the parameters."""
        return 1.0 + self.size * jnp.sum(params * batch)

    @property
    def metadata(self) -> dict:
        """What it is."""
        return {"name": "drawn-gradients", "num_params": _SHAPE[0] * _SHAPE[1]}


def driven(setting: Setting, name: str) -> Part:
    """The size of updates under drawn gradients of many sizes.

    `updates`, (sizes, runs, steps): the root mean square of each update; `sizes`.
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizer, found = setting.load(name, scale.driven_steps), []
        for index, size in enumerate(SIZES):
            run = training.train(
                DrawnGradients(jnp.asarray(size, jnp.float32)),
                optimizer,
                scale.driven_steps,
                key=stream(setting.seed, "driven"),
                probes={"norms": training.Norms()},
                num_runs=scale.runs,
            )
            found.append(np.asarray(run.records["norms"]["updates"]) / np.sqrt(np.prod(_SHAPE)))
            workspace.report(index + 1, len(SIZES))
        return {"updates": np.stack(found), "sizes": SIZES}

    counts = {"steps": scale.driven_steps, "runs": scale.runs, "sizes": SIZES.tolist()}
    return Part(f"driven-{name}", setting.described(name, **counts), compute)


def inside(setting: Setting, name: str) -> Part:
    """The state of one coordinate: where it comes to rest, its modes there, its update function.

    From states that runs at home have visited: `count` fixed points at zero gradient, whether
    one `is_fixed`; at the one that most starts lead to (else at the median of the last states)
    `timescales`, `shares` and `learning_rates` of the modes, `drift`, the update at zero gradient,
    and `updates` over `grid`; `early` and `late` updates at the median state of the first and last
    measured steps; `typical`, the median size of gradients.
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        optimizer = setting.load(name, scale.short_steps)
        every = max(1, scale.short_steps // 20)
        run = training.train(
            setting.task(HOME),
            optimizer,
            scale.short_steps,
            key=stream(setting.seed, "inside"),
            probes={"states": dynamics.StateProbe(every=every)},
            num_runs=scale.runs,
        )
        seen = run.records["states"]
        states = np.asarray(seen.states, np.float64)
        gradients = np.abs(np.asarray(seen.gradients, np.float64))
        workspace.report(1, 2)
        return _looked_into(dynamics.coordinate_map(optimizer, counters=100_000), states, gradients,
                            scale.starts)  # fmt: skip

    counts = {
        "task": setting.registered(HOME),
        "steps": scale.short_steps,
        "runs": scale.runs,
        "starts": scale.starts,
    }
    return Part(f"inside-{name}", setting.described(name, **counts), compute)


def _looked_into(
    coordinates: dynamics.CoordinateMap,
    states: Float[np.ndarray, "runs measurements coordinates size"],
    gradients: Float[np.ndarray, "runs measurements coordinates"],
    num_starts: int,
) -> dict[str, np.ndarray]:
    rows = states.reshape(-1, states.shape[-1])
    rows = rows[np.isfinite(rows).all(axis=1)]
    chosen = np.random.default_rng(0).permutation(len(rows))[:num_starts]
    found = dynamics.fixed_points(coordinates, rows[chosen])
    rest = found.points[0] if len(found) else np.median(states[:, -1].reshape(-1, rows.shape[1]), 0)
    typical = max(float(np.median(gradients[np.isfinite(gradients)])), 1e-12)
    grid = np.linspace(-1, 1, GRID) * float(np.quantile(gradients, 0.95))
    timescales, shares, rates = (np.full(MODES, np.nan) for _ in range(3))
    # At rest some have no derivative (Adam, whose second moment is zero there): then a size of
    # gradients that were met stands for zero.
    try:
        modes = dynamics.linearize(coordinates, rest).modes()
        kept = min(MODES, len(modes.shares))
        timescales[:kept] = np.abs(modes.timescales)[:kept]
        shares[:kept], rates[:kept] = modes.shares[:kept], np.real(modes.learning_rates)[:kept]
    except (InvalidValueError, np.linalg.LinAlgError):
        pass
    medians = [np.median(states[:, at].reshape(-1, rows.shape[1]), axis=0) for at in (0, -1)]
    return {
        "count": np.asarray(len(found)),
        "is_fixed": np.asarray(len(found) > 0),
        "timescales": timescales,
        "shares": shares,
        "learning_rates": rates,
        "drift": np.asarray(float(coordinates.step(rest, 0.0)[1])),
        "response": np.asarray(_response(coordinates, rest, typical)),
        "typical": np.asarray(typical),
        "grid": grid,
        "updates": dynamics.update_function(coordinates, rest, grid),
        "early": dynamics.update_function(coordinates, medians[0], grid),
        "late": dynamics.update_function(coordinates, medians[1], grid),
    }


def _response(coordinates: dynamics.CoordinateMap, rest: np.ndarray, typical: float) -> float:
    """Half the distance between the updates at ± a typical gradient."""
    _, updates = coordinates.step(np.stack([rest, rest]), np.array([-typical, typical]))
    return abs(float(updates[1] - updates[0])) / 2


def probed(setting: Setting, name: str) -> Part:
    """Symmetry deviations and tail indices of updates on the network with leaky ReLU.

    `cosine` and `isotropic` of the rescaling symmetry, (runs, measurements); `alpha`,
    `surrogate` and `gradient_alpha`, (runs, measurements of the tail index).
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(PROBED)
        params = jax.eval_shape(task.init, new_key(0))
        symmetry = {"rescale": task.symmetries(params)["rescale"]}
        every = max(1, scale.short_steps // 20)
        run = training.train(
            task,
            setting.load(name, scale.short_steps),
            scale.short_steps,
            key=stream(setting.seed, "probed"),
            probes={
                "symmetry": SymmetryProbe(every=every, symmetries=symmetry),
                "tails": TailIndexProbe(every=max(1, scale.short_steps // 2),
                                        num_batches=scale.batches),
            },
            num_runs=scale.runs,
        )  # fmt: skip
        found, tails = run.records["symmetry"]["rescale"], run.records["tails"]
        return {
            "cosine": np.asarray(found.cosine),
            "isotropic": np.asarray(found.isotropic),
            "alpha": np.asarray(tails["update"]["alpha"]),
            "surrogate": np.asarray(tails["update"]["surrogate_alpha"]),
            "gradient_alpha": np.asarray(tails["gradient"]["alpha"]),
        }

    counts = {
        "task": setting.registered(PROBED),
        "steps": scale.short_steps,
        "runs": scale.runs,
        "batches": scale.batches,
    }
    return Part(f"probed-{name}", setting.described(name, **counts), compute)


def curvature(setting: Setting, name: str) -> Part:
    """Runs on ½λφ² from φ = 1: `outcomes` at `curvatures`, and `final_sizes`."""
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        runs = curvature_runs(
            setting.load(name, scale.curvature_steps),
            CURVATURES.tolist(),
            num_steps=scale.curvature_steps,
        )
        return {
            "curvatures": CURVATURES,
            "outcomes": np.array(runs.outcomes),
            "final_sizes": np.asarray(runs.final_sizes),
        }

    counts = {"steps": scale.curvature_steps, "curvatures": CURVATURES.tolist()}
    return Part(f"curvature-{name}", setting.described(name, **counts), compute)


def long_run(setting: Setting, name: str, task: str) -> Part:
    """A long run: the moving average (0.98) of the loss, (runs, places), at `steps`.

    Also `first`, the first loss; `least`, the least moving average, and `last`, infinite where a
    run diverged.
    """
    scale = setting.scale

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        run = training.train(
            setting.task(task),
            setting.load(name, scale.steps),
            scale.steps,
            key=stream(setting.seed, f"long {task}"),
            num_runs=scale.runs,
        )
        return summary(np.asarray(run.losses))

    counts = {"steps": scale.steps, "runs": scale.runs, "task": setting.registered(task)}
    return Part(f"long-{task}-{name}", setting.described(name, **counts), compute)


def summary(losses: Float[np.ndarray, "runs steps"]) -> dict[str, np.ndarray]:
    """What is kept of long runs; see `long_run`."""
    from optoscope.bench import smoothed

    average = smoothed(losses, _AVERAGED)
    places = np.unique(np.geomspace(1, losses.shape[1], PLACES).round().astype(int)) - 1
    # Before the average has seen as much as it remembers, it is the first losses'.
    settled = average[:, min(losses.shape[1] - 1, int(1 / (1 - _AVERAGED))) :]
    return {
        "smoothed": average[:, places],
        "steps": places + 1,
        "first": losses[:, 0],
        "least": settled.min(axis=1),
        "last": average[:, -1],
    }


def by_coordinate(setting: Setting) -> tuple[str, ...]:
    """The contestants that are there and update each coordinate by itself."""
    return tuple(name for name in setting.present if CONTESTANTS[name].by_coordinate)
