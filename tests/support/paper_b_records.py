"""Arrays of the shapes that paper B's parts have, from a small made-up optimizer.

h⁺ = h* + Q B Qᵀ (h − h*) + a·tanh(g / c) and update −w·(h⁺ − h*), so that it has one slow mode, a
saturating update function and an S-curve of fixed points.
"""

from dataclasses import dataclass

import numpy as np

TASKS = ("regression", "rosenbrock", "two-moons", "cnn")
RATES = {"regression": 0.3, "rosenbrock": 2e-3, "two-moons": 0.5, "cnn": 0.1, "recovered": 0.4}
SCALES = {"regression": 20.0, "rosenbrock": 5.0, "two-moons": 0.1, "cnn": 0.02, "recovered": 9.0}
SIZE, SEEDS, OFFSETS, GRID = 8, 2, 5, 61
GROUPS = tuple(f"{n}/{t}" for n in ("conv_0", "conv_1", "conv_2", "dense") for t in
               ("weights", "bias"))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Toy:
    """The sizes of one made-up optimizer."""

    betas: np.ndarray
    basis: np.ndarray
    point: np.ndarray
    initial: np.ndarray
    inputs: np.ndarray
    readout: np.ndarray
    scale: float
    rate: float

    def step(self, states, gradient):
        """(new states, updates) for gradients that broadcast against the states' leading axes."""
        drive = np.tanh(np.asarray(gradient)[..., None] / self.scale)
        size = 1 / (1 + 0.5 * np.linalg.norm(states - self.point, axis=-1, keepdims=True))
        linear = (states - self.point) @ self.basis @ np.diag(self.betas) @ self.basis.T
        new = self.point + linear + size * drive * self.inputs
        return new, -self.rate * (new - self.point) @ self.readout

    def updates(self, states, grid):
        return self.step(states[..., None, :], grid)[1]

    def rates(self, states):
        small = 1e-3 * self.scale
        edges = self.updates(states, np.array([-small, small]))
        return (edges[..., 0] - edges[..., 1]) / (2 * small)


def toy(name, seed=0):
    generator = np.random.default_rng([seed, len(name)])
    basis = np.linalg.qr(generator.normal(size=(SIZE, SIZE)))[0]
    betas = np.array([0.999 if name == "cnn" else 0.93, *np.linspace(0.6, 0.02, SIZE - 1)])
    inputs = basis @ np.array([0.5, *np.full(SIZE - 1, 0.12)])
    scale = SCALES[name]
    readout = basis @ np.array([0.6, *np.full(SIZE - 1, 0.4)])
    point = generator.normal(size=SIZE) * 0.2
    initial = point + basis @ np.array([0.3, *generator.normal(size=SIZE - 1)])
    return Toy(betas, basis, point, initial, inputs, readout, scale, RATES[name] * scale)


def _toys(name):
    return [toy(name, seed) for seed in range(SEEDS)]


def _grid(name):
    return np.stack([4 * SCALES[name] * np.linspace(-1, 1, GRID)] * SEEDS)


def tasks():
    generator = np.random.default_rng(1)
    spectra = np.sort(generator.chisquare(3, size=(300, 5)), axis=1) / 3 + 0.01
    angle = generator.uniform(0, np.pi, 200)
    labels = np.arange(200) % 2
    moons = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    moons = np.where(labels[:, None] == 1, [1, 0.5] - moons, moons)
    return {
        "condition_numbers": spectra[:, -1] / spectra[:, 0],
        "regression_spectra": spectra,
        "points": moons + 0.1 * generator.normal(size=moons.shape),
        "labels": labels,
        "images": generator.uniform(size=(12, 8, 8)) ** 2,
        "image_labels": np.arange(12) % 10,
    }


def known_updates():
    grid = np.linspace(-3, 3, GRID)
    velocities, squares = np.linspace(-2, 2, 5), np.array([0.25, 1.0, 4.0, 16.0])
    return {
        "grid": grid,
        "sgd": -0.5 * grid,
        "clipping": -0.5 * np.clip(grid, -1, 1),
        "momentum": -0.5 * (0.9 * velocities[:, None] + grid),
        "momentum_states": velocities,
        "rmsprop": -0.5 * grid / np.sqrt(0.9 * squares[:, None] + 0.1 * grid**2),
        "rmsprop_states": squares,
    }


def tuned(name):
    generator = np.random.default_rng(2)
    rates = np.geomspace(1e-4, 10, 26)
    decays = 1 - np.geomspace(1e-3, 0.9, 18)
    spaces = {
        "momentum": ("learning_rate", "momentum"),
        "rmsprop": ("learning_rate", "decay"),
        "adam": ("learning_rate", "b1", "b2"),
    }
    arrays = {}
    for index, (baseline, hypers) in enumerate(spaces.items()):
        if name == "recovered" and baseline != "momentum":
            continue
        values = {h: generator.choice(rates if h == "learning_rate" else decays, 1500)
                  for h in hypers}  # fmt: skip
        x = np.log10(values["learning_rate"]) + 1 + 0.3 * index
        y = np.log10(1 - values[hypers[1]]) + 1
        score = 0.05 * (1 + 0.2 * index) * (1 + 3 * x**2 + y**2 + 0.5 * x * y)
        score = np.where(x - y > 1.5, np.inf, score)
        best = int(np.argmin(score))
        arrays |= {f"{baseline}/{h}": v for h, v in values.items()}
        arrays |= {f"{baseline}/best/{h}": v[best] for h, v in values.items()}
        arrays |= {
            f"{baseline}/score": score,
            f"{baseline}/best_score": score[best],
            f"{baseline}/on_edge": np.array(index == 1),
        }
    if name == "recovered":
        arrays["optimum"] = np.array([0.12, 0.92])
    return arrays


def performance(name, runs=64, steps=60):
    generator = np.random.default_rng(3)
    names = {"momentum": 9.0, "rmsprop": 12.0, "adam": 15.0, "learned": 5.0}
    if name == "recovered":
        names = {"momentum": 9.0, "heavy-ball": 10.0, "learned": 9.5, "one-mode": 9.7,
                 "two-modes": 9.6, "linearized": 9.5}  # fmt: skip
    arrays = {"best": np.array(1)}
    start = np.exp(generator.normal(size=(1, runs, 1)) * 0.5)
    for each, time in names.items():
        r = SEEDS if each in ("learned", "one-mode", "two-modes", "linearized") else 1
        speed = time * np.exp(0.2 * generator.normal(size=(r, runs, 1)))
        losses = start * (np.exp(-np.arange(steps) / speed) + 0.01)
        arrays[f"{each}/losses"], arrays[f"{each}/objective"] = losses, losses.mean(axis=-1)
    return arrays


def states(name):
    every, runs, measurements, coordinates = 4, 6, 20, 3
    generator = np.random.default_rng(4)
    found = {"states": [], "gradients": [], "updates": []}
    for each in _toys(name):
        h = np.tile(each.initial, (runs, coordinates, 1))
        size = SCALES[name] * generator.normal(size=(runs, coordinates))
        rows = {key: [] for key in found}
        for step in range(every * measurements):
            g = size * np.exp(-step / 15) * np.cos(step / 3)
            new, update = each.step(h, g)
            if step % every == 0:
                for key, value in zip(rows, (h, g, update), strict=True):
                    rows[key].append(value)
            h = new
        for key, values in rows.items():
            found[key].append(np.stack(values, axis=1))
    return {key: np.stack(value) for key, value in found.items()} | {
        "steps": every * np.arange(measurements), "best": np.array(1),
    }  # fmt: skip


def _pca(points):
    center = points.mean(axis=0)
    _, sizes, rows = np.linalg.svd(points - center, full_matrices=False)
    return center, rows[:3], (sizes**2 / np.sum(sizes**2))[:3]


def fixed_points(name):
    visited = states(name)
    every = _toys(name)
    pcas = [_pca(s.reshape(-1, SIZE)) for s in visited["states"]]
    grid = _grid(name)
    points = np.stack([np.stack([each.point, each.point + 0.4 * each.basis[:, 0]])
                       for each in every])  # fmt: skip
    points[0, 1] = np.nan
    kinds = np.array([["stable", ""], ["stable", "saddle"]])
    reach = np.linspace(-1, 1, OFFSETS)
    moved = np.stack([[each.point + reach[:, None] * each.basis[:, m] * (0.8 if m == 0 else 0.4)
                       for m in range(4)] for each in every])  # fmt: skip
    updates = np.stack([each.updates(m, g) for each, m, g in zip(every, moved, grid, strict=True)])
    alphas = np.stack([each.rate / each.scale * (each.basis.T @ each.readout)
                       * (each.basis.T @ each.inputs) for each in every])  # fmt: skip
    timescales = np.stack([each.betas for each in every]).astype(complex)
    timescales[:, 2:4] = 0.4 + np.array([0.2j, -0.2j])
    shares = np.abs(alphas) / (1 - np.abs(timescales))
    variance = visited["states"].var(axis=(1, 3)).sum(axis=-1)
    return {
        "count": np.array([1, 2]),
        "points": points,
        "multiplicity": np.array([[50.0, np.nan], [40, 10]]),
        "kinds": kinds,
        "residuals": np.full((SEEDS, 2), 1e-12),
        "error_bounds": np.full((SEEDS, 2), 1e-10),
        "sigma_min": np.full((SEEDS, 2), 0.07),
        "rates": np.stack([t.rates(p) for t, p in zip(every, points, strict=True)]),
        "unconverged": np.array([0, 1]),
        "attracting": np.array([1, 1]),
        "initial": np.stack([each.initial for each in every]),
        "convergence": np.stack([each.point for each in every]),
        "is_fixed": np.array([True, name != "cnn"]),
        "convergence_rate": np.stack([each.rates(each.point) for each in every]),
        "timescales": timescales,
        "learning_rates": alphas.astype(complex),
        "shares": shares / shares.sum(axis=1, keepdims=True),
        "condition": np.ones(SEEDS),
        "variance": variance,
        "steps": visited["steps"],
        "pca_mean": np.stack([pca[0] for pca in pcas]),
        "pca_components": np.stack([pca[1] for pca in pcas]),
        "pca_explained": np.stack([pca[2] for pca in pcas]),
        "mode_offsets": np.broadcast_to(reach * 0.8, (SEEDS, 4, OFFSETS)).copy(),
        "mode_states": moved,
        "grid": grid,
        "mode_updates": updates,
        "mode_index": np.tile([0, 1, 2, 4], (SEEDS, 1)),
        "mode_rates": np.stack([t.rates(m) for t, m in zip(every, moved, strict=True)]),
        "best": np.array(1),
    }


def clipping(name):
    grid, every = _grid(name), _toys(name)
    edges = np.linspace(grid[1, 0], grid[1, -1], 41)
    centers = (edges[1:] + edges[:-1]) / 2 / SCALES[name]
    counts = np.stack([np.round(3e4 * np.exp(-3 * np.abs(centers)))] * SEEDS)
    return {
        "grid": grid,
        "initial_updates": np.stack([t.updates(t.initial, g) for t, g in
                                     zip(every, grid, strict=True)]),
        "convergence_updates": np.stack([t.updates(t.point, g) for t, g in
                                         zip(every, grid, strict=True)]),
        "linear_rate": np.array([float(t.rates(t.initial)) for t in every]),
        "threshold": np.full(SEEDS, np.nan if name == "regression" else 2 * SCALES[name]),
        "saturated": np.full(SEEDS, 0.0 if name == "regression" else 0.013),
        "convergence_threshold": np.full(SEEDS, 2.2 * SCALES[name]),
        "convergence_saturated": np.full(SEEDS, 0.011),
        "gradient_edges": edges,
        "gradient_counts": counts,
        "best": np.array(1),
    }  # fmt: skip


def schedule(name, steps=60):
    paths, rates = [], []
    for each in _toys(name):
        h, path = each.initial, []
        for _ in range(steps):
            path.append(h)
            h = each.step(h, np.zeros(()))[0]
        paths.append(np.stack(path))
        bump = 1 + 2 * np.exp(-(((np.arange(steps) - 8) / 8) ** 2))
        rates.append(each.rates(paths[-1]) * (bump if name in ("regression", "cnn") else 1))
    updates = np.stack([t.updates(p, np.zeros(1))[:, 0] for t, p in
                        zip(_toys(name), paths, strict=True)])  # fmt: skip
    alignment = np.abs(np.random.default_rng(5).normal(size=(SEEDS, steps))) * 0.1
    alignment[:, 0] = np.nan
    return {
        "states": np.stack(paths),
        "rates": np.stack(rates),
        "updates": updates,
        "drift": updates - updates[:, :1],
        "alignment": alignment,
        "chance": np.array(0.28),
        "used_secant": np.zeros((SEEDS, steps), bool),
        "update_scale": np.full(SEEDS, 0.3 * RATES[name] * SCALES[name]),
        "best": np.array(1),
    }


def adaptation(name):
    arm = SCALES[name] * np.geomspace(1e-2, 30, 12)
    gradients = np.concatenate([-arm[::-1], [0.0], arm])
    grid, every = _grid(name), _toys(name)
    points = []
    for each in every:
        h = np.tile(each.point, (len(gradients), 1))
        for _ in range(400):
            h = each.step(h, gradients)[0]
        points.append(h)
    points = np.stack(points)
    arms = np.array([12, 16, 19, 21, 24])
    with np.errstate(invalid="ignore", divide="ignore"):
        gains = np.stack([-t.step(p, gradients)[1] / gradients for t, p in
                          zip(every, points, strict=True)])  # fmt: skip
    return {
        "gradients": gradients,
        "points": points,
        "rates": np.stack([t.rates(p) for t, p in zip(every, points, strict=True)]),
        "gains": gains,
        "stable": np.abs(gradients)[None] < SCALES[name] * 25 * np.ones((SEEDS, 1)),
        "met": np.ones((SEEDS, len(gradients)), int),
        "grid": grid,
        "arm_index": arms,
        "arm_updates": np.stack([t.updates(p[arms], g) for t, p, g in
                                 zip(every, points, grid, strict=True)]),
        "best": np.array(1),
    }  # fmt: skip


def groups(steps=15):
    generator = np.random.default_rng(6)
    count = len(GROUPS)
    paths, rates = [], []
    for each in _toys("cnn"):
        way = np.exp(-np.arange(steps) / 5)[:, None]
        turn = generator.normal(size=(count, 1, SIZE)) * np.sin(np.arange(steps) / 5)[:, None]
        paths.append(each.point + way * (each.initial - each.point) + 0.2 * turn)
        level = np.arange(1, count + 1)[:, None] * np.where(np.arange(count) % 2, 0.2, 1)[:, None]
        rates.append(0.02 * level * (1 + np.sin(np.arange(steps) / 6)))
    edges = np.geomspace(1e-7, 1, 36)
    logs = np.log10(np.sqrt(edges[1:] * edges[:-1]))
    middle = np.where(np.arange(count) % 2, -2.2, -3.2)[:, None, None]
    middle = middle - 0.5 * np.linspace(0, 1, steps)[:, None]
    counts = np.round(1e3 * np.exp(-((logs - middle) ** 2)))
    return {
        "names": np.array(GROUPS),
        "sizes": np.array([144, 16, 2304, 16, 2304, 16, 77440, 10]),
        "types": np.array([name.split("/")[1] for name in GROUPS]),
        "layers": np.arange(count) // 2,
        "steps": 10 * np.arange(steps),
        "states": np.stack(paths),
        "rates": np.stack(rates),
        "gradient_edges": edges,
        "gradient_counts": np.stack([counts] * SEEDS),
        "separation": np.full(SEEDS, 5.0),
        "best": np.array(1),
    }


def manifold(count=24):
    every, grid = _toys("cnn"), _grid("cnn")
    places = np.stack([np.linspace(-1, 1, count)] * SEEDS)
    points = np.stack([t.point + p[:, None] * t.basis[:, 0] + 0.05 * p[:, None] ** 2 * t.basis[:, 1]
                       for t, p in zip(every, places, strict=True)])  # fmt: skip
    rates = 0.1 * np.exp(places)
    updates = np.stack([t.updates(p, g) for t, p, g in zip(every, points, grid, strict=True)])
    return {
        "points": points,
        "speeds": 1e-3 * np.abs(places) + 1e-6,
        "rates": rates,
        "grid": grid,
        "updates": updates * np.exp(places)[..., None],
        "places": places,
        "explained": np.array([0.97, 0.98]),
        "spread": np.array([0.3, 0.2]),
        "best": np.array(1),
    }


def meta_training(checkpoints=30):
    progress = 1 - np.exp(-np.arange(checkpoints) / 8)[:, None]
    final_beta = np.array([0.91, *np.linspace(0.6, 0.05, SIZE - 1)])
    final_alpha = np.array([0.12, *np.full(SIZE - 1, 3e-3)])
    alphas = (progress * final_alpha + 1e-4).astype(complex)
    timescales = (0.45 + progress * (final_beta - 0.45)).astype(complex)
    one = {
        "timescales": timescales,
        "learning_rates": alphas,
        "shares": np.abs(alphas) / np.abs(alphas).sum(axis=1, keepdims=True),
        "overlaps": np.clip(progress[1:] + 0.4, 0, 1) * np.ones(SIZE),
        "objective": 0.1 + 0.5 * (1 - progress[:, 0]),
    }
    arrays = {key: np.stack([0.8 * values, values]) for key, values in one.items()}
    arrays["timescales"][0, :3] = np.nan
    return arrays | {
        "steps": 100 * np.arange(checkpoints),
        "optimum": np.array([0.12, 0.92]),
        "best": np.array(1),
    }


_BY_TASK = {
    "states": states,
    "fixed-points": fixed_points,
    "tuned": tuned,
    "performance": performance,
    "clipping": clipping,
    "schedule": schedule,
    "adaptation": adaptation,
}
_ALONE = {
    "tasks": tasks,
    "known-updates": known_updates,
    "groups-cnn": groups,
    "manifold-cnn": manifold,
    "meta-training-recovered": meta_training,
}


def part(name):
    """The arrays of the part with this name, made afresh."""
    if name in _ALONE:
        return _ALONE[name]()
    kind = next(kind for kind in _BY_TASK if name.startswith(f"{kind}-"))
    return _BY_TASK[kind](name.removeprefix(f"{kind}-"))
