"""Puts the best optimizers of a finished run of `optoscope reproduce` among the pretrained ones.

    python docs/results/export_weights.py B RUN

Of every task the meta-seed with the least held-out loss.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from optoscope import optimizers
from optoscope.papers import reverse_engineering

PRETRAINED = Path(optimizers.__file__).parent / "pretrained"


def best(run: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the configuration of the best meta-seed of the parts `learned-<name>-seed-…`.

    Raises:
        SystemExit: the run holds none of them.
    """
    found = []
    for path in sorted((run / "records").glob(f"learned-{name}-seed-*.npz")):
        with np.load(path, allow_pickle=False) as saved:
            arrays = {key: saved[key] for key in saved.files}
        described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found.append((float(arrays["evaluation_loss"]), arrays, described["configuration"]))
    if not found:
        raise SystemExit(f"{run} holds no learned-{name}-seed-….npz")
    _, arrays, configuration = min(found, key=lambda entry: entry[0])
    return arrays, configuration


def of_paper_b(run: Path, scale: Any) -> None:
    """A GRU for every task."""
    for name, recipe in scale.recipes.items():
        arrays, configuration = best(run, name)
        provenance = {
            "task": {"name": recipe.task, "options": dict(recipe.options)},
            "meta_training": configuration,
            "meta_steps_done": recipe.meta_steps,
            "evaluation_loss": float(arrays["evaluation_loss"]),
        }
        optimizer = reverse_engineering.load_learned(arrays, recipe)
        print(optimizers.save(PRETRAINED / f"gru-{recipe.task}", optimizer, provenance))


def main() -> None:
    """Reads the arguments and writes the folders."""
    letter, run = sys.argv[1], Path(sys.argv[2])
    arguments = json.loads((run / "config.json").read_text(encoding="utf-8"))["arguments"]
    if letter != "B":
        raise SystemExit(f"nothing to export is known of paper {letter}")
    scale = reverse_engineering.PAPER.get_scale(arguments["scale"])
    of_paper_b(run, scale)


if __name__ == "__main__":
    main()
