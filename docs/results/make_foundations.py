"""Writes foundations.md, its figures and its numbers from finished run directories.

python docs/results/make_foundations.py DEMO MNIST_200 MNIST_1000 MNIST_TRAINING
"""

import json
import shutil
import sys
from pathlib import Path

from optoscope import report
from optoscope.report._summary import format_number

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"


def number(summary: dict) -> str:
    if summary is None or summary["value"] is None:
        return "diverged"
    value, low, high = (format_number(summary[part]) for part in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def table(results: dict) -> str:
    horizons = list(next(iter(results["optimizers"].values()))["mean_loss"])
    head = ["optimizer", "learning rate", *(f"mean loss, {h} steps" for h in horizons)]
    head += ["final loss", "test accuracy", "time a step / Adam's"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    adam = results["optimizers"]["adam"]["seconds_per_step"]
    for name, one in results["optimizers"].items():
        rate = one["hyperparameters"].get("learning_rate")
        cells = [f"**{name}**" if name in results["learned"] else name]
        cells.append("learned" if rate is None else f"{rate:.3g}")
        cells += [number(one["mean_loss"][h]) for h in horizons]
        cells += [number(one["final_loss"]), number(one["test_accuracy"])]
        cells.append(f"{one['seconds_per_step'] / adam:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def section(title: str, run: Path, command: str, figures: tuple[str, ...], prose: str) -> str:
    results = json.loads((run / "results.json").read_text())
    slug = title.lower().split(":")[0].replace(" ", "-").replace(",", "")
    shutil.copy(run / "results.json", HERE / f"{slug}.json")
    parts = [f"## {title}", f"```console\n$ {command}\n```", f"**{report.sentence(results)}**"]
    parts += [table(results), prose]
    for figure in figures:
        name = f"{slug}-{figure.replace('_', '-')}.png"
        shutil.copy(run / "figures" / f"{figure}.png", IMAGES / name)
        parts.append(f"![{title}: {figure.replace('_', ' ')}](../images/{name})")
    runs, steps = results["num_runs"], results["num_steps"]
    parts.append(
        f"{runs} paired runs of {steps} steps; 95% intervals over runs; baselines tuned "
        "by the number in the sentence above. All numbers: "
        f"[{slug}.json]({slug}.json)."
    )
    return "\n\n".join(parts)


def main(demo: Path, short: Path, long: Path, training: Path) -> None:
    IMAGES.mkdir(exist_ok=True)
    metrics = [json.loads(line) for line in (training / "metrics.jsonl").read_text().splitlines()]
    evaluations = [m["evaluation_loss"] for m in metrics if m.get("evaluation_loss") is not None]
    shutil.copy(
        training / "figures" / "meta_training.png", IMAGES / "mnist-training-meta-training.png"
    )
    shutil.copy(demo / "figures" / "early_losses.png", IMAGES / "demo-early-losses.png")
    page = [
        "# Results: foundations",
        "Made by the commands shown, on two cores; this page is written from their `results.json` "
        "by `docs/results/make_foundations.py`.",
        section(
            "Demo: digits, 64-20-10 sigmoid network",
            demo,
            "make demo",
            ("early_losses", "loss_curves", "search"),
            "The learned optimizer was meta-trained on the training loss, and wins there, at the "
            "end of 200 steps as in the first hundred. It says nothing of new digits: its "
            "validation loss is several times that of Adam, and its test accuracy a point lower.",
        ),
        "## MNIST training\n\n```console\n$ optoscope train lstm --task mnist-mlp-sigmoid "
        "--meta-steps 3500 --num-tasks 2 \\\n    --objective mean --meta-learning-rate 4e-3 "
        "--schedule cosine --out runs/mnist\n```\n\n"
        f"{metrics[-1]['step']:,} meta-updates; on two quiet cores about twenty minutes (here "
        "beside test runs, longer). Held-out mean loss over 200 steps: "
        f"{evaluations[0]:.3f} after the first 200 meta-updates, {min(evaluations):.3f} at best; "
        f"{metrics[-1]['skipped']} meta-gradients skipped. The optimizer comes with the library as "
        "`lstm-mnist-sigmoid`. It was made before the streams of a run's keys were named, so the "
        "same command today draws other problems: expect a like optimizer, not the same weights."
        "\n\n![Meta-training on MNIST](../images/mnist-training-meta-training.png)",
        section(
            "MNIST 200 steps: 784-20-10 sigmoid network",
            short,
            "optoscope evaluate lstm-mnist-sigmoid --task mnist-mlp-sigmoid "
            "--against sgd,momentum,adam,lion --steps 200 --metric-steps 200",
            ("early_losses", "loss_curves"),
            "As on digits, it is ahead early and passed later. Over the 200 steps it was "
            "meta-trained for, a tuned Adam is as good. Paper A reports a clear lead, with "
            "rates from a search it does not describe; against rates tuned by the compared number "
            "itself there is none over the whole horizon, at this amount of meta-training (7,000 "
            "unrolls against the paper's 10,000).",
        ),
        section(
            "MNIST 1000 steps: far past the horizon",
            long,
            "optoscope evaluate lstm-mnist-sigmoid --task mnist-mlp-sigmoid "
            "--against sgd,momentum,adam,lion --steps 1000 --metric-steps 1000",
            ("loss_curves",),
            "Five times the horizon of meta-training. The learned optimizer diverges in no "
            "run, but it hardly improves past the 200 steps it was trained for, while SGD and "
            "momentum go on. Optimizers that keep improving, or at least stay stable, far past "
            "their horizon are the subject of paper C.",
        ),
    ]
    headline = report.sentence(json.loads((demo / "results.json").read_text())).rstrip(".")
    readme = HERE.parent.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- expect -->")
    after = rest.partition("<!-- /expect -->")[2]
    expect = f"<!-- expect -->**{headline}.**<!-- /expect -->"
    readme.write_text(before + expect + after, encoding="utf-8")
    (HERE / "foundations.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
