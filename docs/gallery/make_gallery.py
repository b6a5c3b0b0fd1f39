"""Makes the pages of the gallery, and the text around them; finished ones are not made again.

python docs/gallery/make_gallery.py [RUNS] [--steps 200]
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from what_one_sees import PARAGRAPHS, Seen

HERE = Path(__file__).parent
META_STEPS = 600


@dataclass(frozen=True)
class Pair:
    """Two or three optimizers on one page.

    Args:
        name: of the page.
        title: its heading.
        optimizers: as the command line names them; {runs} stands for the folder of runs.
        task: as the command line names it.
        why: why one looks at them together.
        twins: whether two LSTM optimizers, one of them penalized, are meta-trained first.
    """

    name: str
    title: str
    optimizers: str
    task: str
    why: str
    twins: bool = False


PAIRS = (
    Pair(
        "adam-lion",
        "Adam and Lion",
        "adam,lion",
        "digits-mlp-relu",
        "Both keep running averages; one divides by a second moment, the other takes a sign.",
    ),
    Pair(
        "adamw-muon",
        "AdamW and Muon",
        "adamw,muon",
        "digits-mlp-relu",
        "One works on each coordinate by itself, the other on whole matrices.",
    ),
    Pair(
        "momentum-gru",
        "Momentum and a GRU",
        "momentum,gru-quadratic",
        "quadratic",
        "The learned optimizer of paper B beside what it is said to have found.",
    ),
    Pair(
        "lstm-penalized",
        "An LSTM and its penalized twin",
        "{runs}/plain,{runs}/penalized",
        "digits-mlp-sigmoid",
        "The same network, one of them meta-trained to keep a symmetry of the network (paper A).",
        twins=True,
    ),
    Pair(
        "star-blackbox",
        "STAR, its black box and its nominal term",
        "star-mnist-mlp,blackbox-mnist-mlp,hyperparam-mnist-mlp",
        "digits-mlp-relu",
        "The three arms of paper C: which of them lasts on a task that it has not seen?",
    ),
    Pair(
        "schedule-free-cosine",
        "Schedule-free AdamW and cosine AdamW",
        "schedule_free_adamw,adamw-cosine",
        "digits-mlp-relu",
        "One averages its iterates, the other has a schedule that ends at zero.",
    ),
)  # fmt: skip


INTRODUCTION = """# Gallery

Pairs of optimizers, inspected. Each page is interactive and needs no network. The numbers in the
paragraphs are read from the arrays behind the pages by `docs/gallery/make_gallery.py`, which makes
all of this (`make gallery`). Times on the pages are those of a busy machine of two cores.
"""


def made(pair: Pair, runs: Path, steps: int) -> Path | None:
    """The pair's run directory, made now if it is not finished; None if that failed."""
    run = runs / pair.name
    if not (run / "index.html").exists():
        if pair.twins:
            train_twins(runs)
        shutil.rmtree(run, ignore_errors=True)
        names = pair.optimizers.format(runs=runs)
        command("inspect", names, "--task", pair.task, "--steps", str(steps), "--out", str(run))
    return run if (run / "index.html").exists() else None


def train_twins(runs: Path) -> None:
    """Two LSTM optimizers from the same weights, on the same problems; one keeps a symmetry."""
    import jax
    import optax

    from optoscope import meta, optimizers, tasks
    from optoscope.analysis.symmetry import SymmetryPenalty

    task = tasks.get("digits-mlp-sigmoid")
    for name, beta in (("plain", 0.0), ("penalized", 0.1)):
        if (runs / name / "optimizer").exists():
            continue
        penalty = SymmetryPenalty.for_task(task, "translation", beta=beta)
        estimator = meta.TruncatedBackprop(
            tasks.fixed(task), num_tasks=2, truncation=20, horizon=200,
            objective=meta.Objective("sum", penalties=(penalty,)),
        )  # fmt: skip
        held_out = meta.HeldOutLoss(tasks.fixed(task), 200, 4, jax.random.key(9))
        trainer = meta.Trainer(estimator, optax.adam(3e-3), evaluation=held_out)
        lstm = optimizers.get("lstm", key=jax.random.key(0))
        result = trainer.run(lstm, META_STEPS, key=jax.random.key(1), directory=runs / name)
        optimizers.save(runs / name / "optimizer", result.best)


def command(*words: str) -> None:
    print("optoscope", *words, flush=True)
    subprocess.run([sys.executable, "-m", "optoscope", *words], check=False)


def text(pair: Pair, run: Path) -> str:
    """The pair's paragraph: why one looks, what one sees, and the command that shows it."""
    names = pair.optimizers.format(runs="runs/gallery")
    return (
        f"## {pair.title}\n\n{pair.why} **[The page]({pair.name}.html)**\n\n"
        f"{PARAGRAPHS[pair.name](Seen(run))}\n\n"
        f"```console\n$ optoscope inspect {names} --task {pair.task}\n```\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION]
    for pair in PAIRS:
        run = made(pair, given.runs, given.steps)
        if run is not None:
            shutil.copyfile(run / "index.html", HERE / f"{pair.name}.html")
            parts.append(text(pair, run))
    (HERE / "index.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
