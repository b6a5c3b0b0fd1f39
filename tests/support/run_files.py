import json
import math
from pathlib import Path

import numpy as np

from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope.report import Estimate, Explanation, Mode, Worth

NAMES = ("lstm", "momentum", "adam", "lion")


def interval(mean, low=None, high=None, runs=10):
    return {"value": mean, "low": low, "high": high, "count": runs, "method": "mean"}


def make_results(**changes):
    def entry(first, second, final, accuracy, **more):
        return {
            "hyperparameters": {},
            "warnings": [],
            "mean_loss": {
                "100": interval(first, first - 0.012, first + 0.013),
                "200": interval(second, second - 0.008, second + 0.009),
            },
            "final_loss": interval(final, final - 0.01, final + 0.011),
            "test_accuracy": interval(accuracy, accuracy - 0.007, accuracy + 0.006),
            "seconds_per_step": 1e-4,
            "diverged": 0,
            **more,
        }

    optimizers = {
        "lstm": entry(0.322, 0.201, 0.061, 0.951),
        "momentum": entry(
            0.449, 0.271, 0.07, 0.953, hyperparameters={"momentum": 0.9, "learning_rate": 3.0}
        ),
        "adam": entry(0.472, 0.28, 0.064, 0.955, hyperparameters={"learning_rate": 0.1}),
        "lion": entry(
            0.61,
            0.39,
            0.12,
            0.93,
            hyperparameters={"learning_rate": 0.01},
            warnings=["best learning_rate 0.01 is at the edge of its grid"],
        ),
    }
    return {
        "format": "optoscope/results",
        "version": 2,
        "task": {"name": "digits-mlp-sigmoid", "widths": [64, 20, 10]},
        "seeds": list(range(10)),
        "num_steps": 200,
        "num_runs": 10,
        "seconds": 245.3,
        "learned": ["lstm"],
        "optimizers": optimizers,
        "comparison": {
            "metric": "mean_loss over the first 100 steps",
            "learned": "lstm",
            "baseline": "momentum",
            "relative_improvement": interval(0.283, 0.251, 0.302),
        },
        **changes,
    }


def make_losses(names=NAMES, runs=10, steps=200, seed=0):
    generator = np.random.default_rng(seed)
    step = np.arange(steps)
    speeds = {"lstm": 9.0, "momentum": 17.0, "adam": 19.0, "lion": 30.0}
    start = generator.normal(2.35, 0.04, (runs, 1))
    return {
        name: (0.05 + (start - 0.05) / (1 + step / speeds.get(name, 14.0)) ** 1.4)
        * np.exp(generator.normal(0, 0.13, (runs, steps)))
        for name in names
    }


def make_search():
    generator = np.random.default_rng(1)
    arrays = {}
    rates = 10.0 ** np.arange(-3, 1.5, 0.5)
    for name, best, extra in (("adam", -1.0, None), ("momentum", 0.5, (0.5, 0.9, 0.99)),
                              ("lion", -2.0, None)):  # fmt: skip
        tried = rates if name != "lion" else rates[:3] / 10**0.5 * 10**0.5
        if extra:
            rate, other = (grid.ravel() for grid in np.meshgrid(tried, extra))
            arrays[f"{name}/momentum"] = other
            penalty = 0.25 * np.abs(other - 0.9) * 4
        else:
            rate, penalty = tried, 0.0
        score = 0.45 + 0.35 * (np.log10(rate) - best) ** 2 + penalty
        score = score + generator.normal(0, 0.01, rate.shape)
        score[rate > 10 ** (best + 1.3)] = np.nan
        arrays[f"{name}/learning_rate"] = rate
        arrays[f"{name}/score"] = score
    return arrays


def make_probes(names=NAMES, runs=10):
    generator = np.random.default_rng(3)
    arrays = {}
    for name in names:
        steps = np.arange(0, 100, 10)
        shape = (runs, len(steps))
        cosine = 0.1 * np.exp(generator.normal(0, 0.3, shape))
        cosine[0, 3] = np.nan
        arrays[f"{name}/symmetry['rescale'].cosine"] = cosine
        arrays[f"{name}/symmetry['rescale'].isotropic"] = np.full(shape, 0.03)
        arrays[f"{name}/symmetry['rescale'].vector"] = generator.normal(0, 1, (*shape, 20))
        arrays[f"{name}/tail_index['update']['alpha']"] = generator.uniform(1, 2, shape)
        arrays[f"{name}/tail_index['update']['surrogate_alpha']"] = np.full(shape, 1.9)
        arrays[f"{name}/norms['updates']"] = np.ones(shape)
        for probe in ("symmetry", "tail_index", "norms"):
            arrays[f"{name}/{probe}/steps"] = steps
    return arrays


def make_probe_texts():
    """How the arrays of `make_probes` are drawn."""
    curve = {"kind": "curve", "unit": "", "logarithmic": True, "reference": None, "edges": None}
    kinds = {
        "symmetry": [curve | {"array": ".cosine", "label": "cosine", "reference": ".isotropic"}],
        "tail_index": [
            curve
            | {
                "array": "['update']['alpha']",
                "label": "α of update noise",
                "logarithmic": False,
                "reference": "['update']['surrogate_alpha']",
            }
        ],
        "norms": [curve | {"array": "['updates']", "label": "norm of the update"}],
    }
    return {
        "format": "optoscope/probes",
        "version": 1,
        "probes": {
            name: {
                "how_to_read": f"How {name} is read.",
                "what_it_does_not_show": f"What {name} hides.",
                "drawings": drawings,
            }
            for name, drawings in kinds.items()
        },
    }


def make_metrics(reports=100):
    generator = np.random.default_rng(2)
    lines = []
    for index in range(reports):
        step = 25 * (index + 1)
        loss = 0.35 + 1.6 * np.exp(-index / 12) + generator.normal(0, 0.05)
        line = {
            "step": step,
            "meta_loss": None if index == 30 else float(loss),
            "gradient_norm": 1.0,
            "skipped": 0 if index < 30 else 2,
            "seconds": 0.1 * step,
        }
        if index % 10 == 9:
            line["evaluation_loss"] = float(0.3 + 1.2 * np.exp(-index / 14))
        lines.append(line)
    return lines


def make_claim(name, verdict, estimate=None, **changes):
    return {
        "id": name,
        "paper": "A",
        "figure": "figure 2",
        "statement": "The learned optimizer beats every tuned baseline on its own task.",
        "protocol": "corrected",
        "scale": "laptop",
        "quantity": "the best baseline's mean loss above the learned optimizer's",
        "unit": "decades",
        "criterion": {"relation": "above", "bound": 0.0},
        "repeated_over": {"unit": "meta-seed", "chosen": False},
        "repetitions": [0.25, 0.283, 0.3],
        "estimate": estimate or interval(0.283, 0.25, 0.3, 3),
        "verdict": verdict,
        "revised": "",
        **changes,
    }


def make_claims(*entries):
    return {"format": "optoscope/claims", "version": 1, "claims": list(entries)}


CLAIMS = make_claims(
    make_claim("A3", "holds"),
    make_claim(
        "A4",
        "does not hold",
        interval(0.5, 0.3, 0.7),
        statement="Hardly any run diverges.",
        protocol="paper",
        quantity="the share of runs that diverged",
        unit="share",
        criterion={"relation": "below", "bound": 0.1},
        repeated_over={"unit": "run", "chosen": False},
        repetitions=[1.0, 0.0] * 5,
        revised="It was a mean.",
    ),
    make_claim(
        "A5",
        "inconclusive",
        interval(0.2, None, None, 2),
        figure="",
        repeated_over={"unit": "task", "chosen": True},
        repetitions=[0.5, -0.1],
    ),
    make_claim("A6", "inconclusive", interval(None, runs=0), scale="smoke", repetitions=[]),
)


def write_run(directory: Path, *, results=None, losses=None, search=None, metrics=None,
              claims=None, config=None, probes=None, explanation=None) -> Path:  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    config = config or {"command": "demo", "seed": 0, "task": {"name": "digits-mlp-sigmoid"}}
    (directory / "config.json").write_text(json.dumps(config))
    if results is not None:
        (directory / "results.json").write_text(json.dumps(results))
    if claims is not None:
        (directory / "claims.json").write_text(json.dumps(claims))
    if metrics is not None:
        text = "".join(json.dumps(line) + "\n" for line in metrics)
        (directory / "metrics.jsonl").write_text(text)
    if explanation is not None:
        (directory / "explanation.json").write_text(json.dumps(explanation.as_json()))
    (directory / "records").mkdir(exist_ok=True)
    if losses is not None:
        arrays = {f"losses/{name}": value for name, value in losses.items()}
        np.savez(directory / "records" / "evaluation.npz", **arrays)
    if search is not None:
        np.savez(directory / "records" / "search.npz", **search)
    if probes is not None:
        np.savez(directory / "records" / "probes.npz", **probes)
        (directory / "records" / "probes.json").write_text(json.dumps(make_probe_texts()))
    return directory


def make_findings(names=("adam", "muon"), layers=("all parameters", "w (matrix 3×2)"), **texts):
    """A panel with a chart of each kind, a choice, a slider, a band and a dotted line."""
    said = {key: texts.get(key, key) for key in ("title", "label", "sentence", "axis")}
    steps, grid = np.array([0, 3, 20, 150]), np.linspace(-2, 2, 9)
    shape = (len(names), len(layers), len(steps), len(grid))
    scale = 1 + np.arange(np.prod(shape[:3])).reshape(*shape[:3], 1)
    size = np.exp(-np.arange(4.0)) * (1 + np.arange(len(names)))[:, None]
    axes = {
        "optimizer": Axis(said["axis"], np.array(names)),
        "layer": Axis("layer", np.array(layers)),
        "step": Axis("step", steps),
        "gradient": Axis("gradient", grid),
    }
    both = ("optimizer", "step")
    arrays = {
        "update": Measured(("optimizer", "layer", "step", "gradient"), -grid * scale),
        "size": Measured(both, size),
        "low": Measured(both, size / 2),
        "high": Measured(both, size * 2),
        "edge": Measured(both, size * 3),
        "cost": Measured(("optimizer",), np.array([8.0, 4.1, 1.0][: len(names)])),
        "place": Measured(both, np.cumsum(size, axis=1)),
    }
    charts = (
        Chart(said["title"], "update", said["label"], "gradient", slider="step"),
        Chart("Size", "size", "size", "step", band=("low", "high"), reference="edge",
              logarithmic=True, along_logarithmic=True),
        Chart("Modes", "size", "rate", "step", kind="points", horizontal="place"),
        Chart("Cost", "cost", "bytes", "optimizer", None, kind="bars"),
    )  # fmt: skip
    return Findings(axes, arrays, charts, (said["sentence"],))


def write_panels(directory: Path, **panels: Findings) -> Path:
    """Writes findings as `optoscope inspect` does, with words of which each says what it is."""
    described = {}
    for name, findings in panels.items():
        np.savez(directory / "records" / f"inspect-{name}.npz", **findings.records())
        words = {"title": f"Title of {name}", "how_to_read": "How.", "does_not_show": "What not."}
        described[name] = words | findings.as_json()
    content = {"format": "optoscope/findings", "version": 1, "panels": described}
    (directory / "records" / "inspect.json").write_text(json.dumps(content))
    return directory


def gain(value, half):
    return Estimate(value, value - half, value + half, 64, "mean")


EXPLANATION = Explanation(
    optimizer="gru-<b>regression</b>",
    task="quadratic",
    baseline={"learning_rate": 0.25, "momentum": 0.75},
    num_steps=200,
    num_runs=64,
    wanted=0.9,
    num_modes=1,
    mechanisms=("clipping",),
    sufficient=True,
    gains={
        "learned": Worth(0.05, gain(0.4, 0.04), 1.0),
        "baseline": Worth(0.0746, Estimate(0.0, math.nan, math.nan, 64, "equal values"), 0.0),
        "distilled": Worth(0.0511, gain(0.38, 0.04), 0.95),
        "everything": Worth(0.09, gain(-2.0, 1.0), -5.0),
        "without clipping": Worth(0.06, gain(0.2, 0.04), 0.5),
        "without momentum": Worth(0.08, gain(-0.07, 0.06), -0.2),
    },
    modes=(
        Mode(0.8 + 0j, 0.3 + 0j, 0.6),
        Mode(0.5 + 0.1j, 0.1 - 0.02j, 0.1),
        Mode(0.5 - 0.1j, 0.1 + 0.02j, 0.1),
    ),
    source="x < 1 and x > 0",
)
