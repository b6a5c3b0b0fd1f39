"""The optimizers that a run meta-trained, kept beside its page of results.

They are what takes hours; with them everything else on a page is computed again in minutes.
"""

import shutil
from pathlib import Path


def meta_trained(run: Path) -> tuple[str, ...]:
    """The names of the finished parts of a run that meta-trained an optimizer."""
    exported = (path.parent.name for path in (run / "parts").glob("*/optimizer"))
    return tuple(sorted(n for n in exported if (run / "records" / f"{n}.json").is_file()))


def keep_optimizers(run: Path, place: Path) -> None:
    """Copies a run's meta-trained optimizers to `place`, instead of what is there.

    They lie there as they do in the run: `records/` has the parts, for `optoscope reproduce
    --reuse`, and `parts/<name>/optimizer/` each optimizer, for `optimizers.load` and the commands.

    Args:
        run: the directory of a finished run of `reproduce`.
        place: the folder to keep them in.
    """
    shutil.rmtree(place, ignore_errors=True)
    for name in meta_trained(run):
        folder = Path("parts", name, "optimizer")
        shutil.copytree(run / folder, place / folder)
        (place / "records").mkdir(exist_ok=True)
        for suffix in (".json", ".npz"):
            record = Path("records", name + suffix)
            shutil.copyfile(run / record, place / record)
