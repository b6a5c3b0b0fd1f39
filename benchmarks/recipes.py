"""Each recipe that comes with the library with five meta-seeds, beside tuned baselines.

    python benchmarks/recipes.py --out runs/recipes [--recipe gru-two-moons]

Calls `optoscope train --recipe … --seed …`, then `optoscope evaluate` (for the general optimizer
`optoscope suite`) on all that came out of a recipe, as a user would. What is done is kept in --out,
and a meta-training that was stopped goes on. Prints, for each comparison, the quantiles over the
meta-seeds and how far the worst of them is ahead of the best baseline.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optoscope import bench
from optoscope._core.files import read_json

RUNS, POINTS = 20, 50
QUANTILES = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Case:
    """A comparison: the mean training loss over the first steps of a task.

    Args:
        task: as `optoscope list tasks` shows it.
        steps: how many.
        options: of the task, as --set takes them.
    """

    task: str
    steps: int
    options: tuple[str, ...] = ()


BASELINES, REFERENCE = "adam,nadamw,muon,momentum,lion", "adamw-cosine"
_ON_MOONS = ("hidden=16,16,16", "num_points=256")
_WHOLE = ("validation_size=0",)
# By recipe. The general optimizer is judged on the suite, which has none of its own tasks.
CASES: dict[str, tuple[Case, ...]] = {
    "gru-two-moons": (
        Case("two-moons", 100, _ON_MOONS),
        Case("two-moons", 200, _ON_MOONS),
    ),
    "gru-cnn": (Case("digits-cnn", 100), Case("digits-cnn", 200)),
    "l2o-strong": (
        Case("mnist-mlp-dm", 100, _WHOLE),
        Case("mnist-mlp-dm", 200, _WHOLE),
        Case("mnist-mlp-sigmoid", 200, _WHOLE),
    ),
    "l2o-rectified": (
        Case("mnist-mlp-leaky-relu", 100, _WHOLE),
        Case("mnist-mlp-leaky-relu", 200, _WHOLE),
        Case("mnist-mlp-batch-norm", 100, _WHOLE),
        Case("mnist-mlp-batch-norm", 200, _WHOLE),
    ),
    "general": (),
}


def optoscope(*words: str) -> None:
    """Runs a command and shows what it says."""
    print("$ optoscope", *words, flush=True)
    subprocess.run([sys.executable, "-m", "optoscope", *words], check=True)


def train(recipe: str, seed: int, place: Path) -> Path:
    """The run directory of a meta-training, which is done afterwards."""
    run = place / f"seed-{seed}"
    if (run / "config.json").exists():
        # The page is what a finished run has last.
        if not (run / "index.html").exists():
            optoscope("train", "--resume", str(run))
    else:
        optoscope("train", "--recipe", recipe, "--seed", str(seed), "--out", str(run))
    return run


def compare(case: Case, runs: Sequence[Path], place: Path) -> bench.Comparison:
    """All meta-seeds and the tuned baselines on the same fresh runs of a case."""
    out = place / f"{case.task}-{case.steps}"
    if not (out / "results.json").exists():
        options = ("--set", *case.options) if case.options else ()
        optoscope(
            "evaluate", ",".join(map(str, runs)), "--task", case.task, *options,
            "--against", BASELINES, "--no-tuned",
            "--steps", str(case.steps), "--metric-steps", str(case.steps),
            "--runs", str(RUNS), "--search-points", str(POINTS), "--out", str(out),
        )  # fmt: skip
    return bench.Comparison.read(out)


def row(recipe: str, case: Case, found: bench.Comparison) -> str:
    """A line of the table."""
    mean = {
        name: one.mean_loss(case.steps).value for name, one in found.evaluation.optimizers.items()
    }
    baselines = [name for name in found.searches if name not in found.learned]
    best = min(baselines, key=lambda name: mean[name])
    worst = max(found.learned, key=lambda name: mean[name])
    ahead = found.evaluation.improvement(worst, best, case.steps).as_json()
    return line(
        recipe,
        f"mean of `{case.task}`, {case.steps} steps",
        f"{mean[best]:.3f} ({best})",
        [mean[name] for name in found.learned],
        *(100 * ahead[key] for key in ("value", "low", "high")),
    )


def line(recipe: str, what: str, beside: str, values: Sequence[float], *ahead: float) -> str:
    """A line of the table: the quantiles, and the share by which the worst is ahead."""
    quantiles = " | ".join(f"{value:.3f}" for value in np.percentile(values, QUANTILES))
    share, low, high = (f"{value:.0f}" for value in ahead)
    return f"| `{recipe}` | {what} | {beside} | {quantiles} | {share}% [{low}, {high}] |"


def on_the_suite(recipe: str, runs: Sequence[Path], place: Path) -> list[str]:
    """Lines of the table for optimizers that are judged on the suite, as they come."""
    out = place / "suite"
    if not (out / "suite.json").exists():
        optoscope(
            "suite", "small", "--optimizers", ",".join(map(str, runs)), "--no-tuned",
            "--against", REFERENCE, "--steps", "2000", "--runs", "3", "--rates", "10",
            "--out", str(out),
        )  # fmt: skip
    ranked = read_json(out / "suite.json")["optimizers"]
    lines = []
    for measure in ("final", "mean"):
        found = [
            one["relative"][REFERENCE][measure] for name, one in ranked.items() if name != REFERENCE
        ]
        worst = max(found, key=lambda one: one["value"])
        ahead = (100 * (1 - worst[key]) for key in ("value", "high", "low"))
        values = [one["value"] for one in found]
        lines.append(
            line(recipe, f"{measure} loss on the suite", f"1 ({REFERENCE})", values, *ahead)
        )
    return lines


def main() -> None:
    """Meta-trains, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=CASES, action="append", help="all, if not given")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    lines = []
    for recipe in given.recipe or CASES:
        place = given.out / recipe
        runs = [train(recipe, seed, place) for seed in range(given.seeds)]
        if recipe == "general":
            lines += on_the_suite(recipe, runs, place)
        lines += [row(recipe, case, compare(case, runs, place)) for case in CASES[recipe]]
    heads = ("recipe", "what", "best tuned baseline", "least", "25%", "median", "75%", "greatest")
    print(f"| {' | '.join(heads)} | worst ahead by |")
    print("| --- " * (len(heads) + 1) + "|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
