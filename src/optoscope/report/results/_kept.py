"""The optimizers that a run meta-trained, kept beside its page of results.

They are what takes hours; with them everything else on a page is computed again in minutes.
"""

import shutil
from pathlib import Path

_LEARNED = "learned-"


def keep_optimizers(run: Path, place: Path) -> tuple[Path, ...]:
    """Copies a run's meta-trained optimizers to `place`, instead of what is there.

    They lie there as they do in the run: `records/` has the parts, for `optoscope reproduce
    --reuse`, and `parts/<name>/optimizer/` each optimizer, for `optimizers.load` and the commands.

    Args:
        run: the directory of a finished run of `reproduce`.
        place: the folder to keep them in.

    Returns:
        The folders of the optimizers, relative to `place`.
    """
    shutil.rmtree(place, ignore_errors=True)
    kept = []
    for description in sorted((run / "records").glob(f"{_LEARNED}*.json")):
        (place / "records").mkdir(parents=True, exist_ok=True)
        for path in (description, description.with_suffix(".npz")):
            shutil.copyfile(path, place / "records" / path.name)
        optimizer = Path("parts", description.stem, "optimizer")
        if (run / optimizer).is_dir():
            shutil.copytree(run / optimizer, place / optimizer)
            kept.append(optimizer)
    return tuple(kept)
