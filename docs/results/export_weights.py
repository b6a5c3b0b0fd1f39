"""Puts the best optimizers of a finished run of `optoscope reproduce` among the pretrained ones.

    python docs/results/export_weights.py B RUN

Of every task of paper B, and of one optimizer of papers A and C, the meta-seed with the least
held-out loss.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from optoscope import optimizers
from optoscope.papers import reverse_engineering, stability, symmetry_and_noise

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


def write(name: str, optimizer: Any, recipe: Any, found: tuple[dict, dict[str, Any]]) -> None:
    """Saves an optimizer with what is known of its meta-training."""
    arrays, configuration = found
    provenance = {
        "task": {"name": recipe.task, "options": dict(recipe.options)},
        "meta_training": configuration | {"curriculum": recipe.horizons[1:]},
        "meta_steps_done": recipe.meta_steps,
        "evaluation_loss": float(arrays["evaluation_loss"]),
    }
    print(optimizers.save(PRETRAINED / name, optimizer, provenance))


def of_paper_a(run: Path, scale: Any) -> None:
    """Of the LSTMs those that met batch norm, which do best on networks that they never met."""
    found, setting = best(run, "batch-norm-beta-0"), symmetry_and_noise.Setting(scale)
    how = symmetry_and_noise.training_of(setting, "batch-norm")
    optimizer = symmetry_and_noise.load_learned(found[0], how)
    write("rnnprop-mnist", optimizer, how.recipe, found)


def of_paper_b(run: Path, scale: Any) -> None:
    """A GRU for every task."""
    for name, recipe in scale.recipes.items():
        found = best(run, name)
        how = reverse_engineering.training_of(reverse_engineering.Setting(scale), name)
        optimizer = reverse_engineering.load_learned(found[0], how)
        write(f"gru-{recipe.task}", optimizer, recipe, found)


def of_paper_c(run: Path, scale: Any) -> None:
    """STAR as printed: at length no other arm did better than the one that ships."""
    found, setting = best(run, "mlp-star-0.5"), stability.Setting(scale)
    how = stability.training_of(setting, "mlp", "star-0.5")
    write("star-mnist-mlp", stability.load_learned(found[0], how), how.recipe, found)


EXPORTS = {
    "A": (symmetry_and_noise, of_paper_a),
    "B": (reverse_engineering, of_paper_b),
    "C": (stability, of_paper_c),
}


def main() -> None:
    """Reads the arguments and writes the folders."""
    letter, run = sys.argv[1], Path(sys.argv[2])
    arguments = json.loads((run / "config.json").read_text(encoding="utf-8"))["arguments"]
    if letter not in EXPORTS:
        raise SystemExit(f"nothing to export is known of paper {letter}")
    paper, export = EXPORTS[letter]
    export(run, paper.PAPER.get_scale(arguments["scale"]))


if __name__ == "__main__":
    main()
