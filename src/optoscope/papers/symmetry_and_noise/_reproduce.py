"""From the names of figures to a run directory with records, claims, figures and a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optoscope import report
from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.files import write_json
from optoscope.papers._claims import measured_claims
from optoscope.papers._parts import Progress, Store
from optoscope.papers.symmetry_and_noise._claims import CLAIMS
from optoscope.papers.symmetry_and_noise._figures import FIGURES
from optoscope.papers.symmetry_and_noise._meta_training import Setting
from optoscope.papers.symmetry_and_noise._scales import SCALES, Scale


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` did.

    Args:
        page: the run's page.
        claims: the entries of `claims.json`.
        computed: the parts that were computed; all others were there already.
    """

    page: Path
    claims: list[dict[str, Any]]
    computed: tuple[str, ...]


def figure_keys(names: str | Sequence[str]) -> tuple[str, ...]:
    """The keys of `FIGURES` that the names stand for, in the paper's order.

    Args:
        names: keys, or a text of keys separated by commas; "all" is every figure of the paper,
            without the sweeps.

    Raises:
        UnknownNameError: no such figure.
        InvalidValueError: none is named.

    Example:
        >>> figure_keys("7,4")
        ('4', '7')
    """
    listed = names.split(",") if isinstance(names, str) else list(names)
    chosen = set()
    for name in filter(None, (name.strip() for name in listed)):
        # Figures 2 and 3 are one picture here.
        key = "2" if name == "3" else name
        if key == "all":
            chosen |= {known for known in FIGURES if known.isdigit()}
        elif key in FIGURES:
            chosen.add(key)
        else:
            raise UnknownNameError("figure of paper A", name, (*FIGURES, "all"))
    if not chosen:
        raise InvalidValueError(f"no figure is named; choose from {', '.join(FIGURES)} or all.")
    return tuple(key for key in FIGURES if key in chosen)


def get_scale(scale: str | Scale) -> Scale:
    """A scale by name, or as it is.

    Raises:
        UnknownNameError: no such scale.
    """
    if isinstance(scale, Scale):
        return scale
    if scale not in SCALES:
        raise UnknownNameError("scale", scale, SCALES)
    return SCALES[scale]


def reproduce(
    figures: str | Sequence[str],
    scale: str | Scale,
    directory: str | Path,
    *,
    seed: int = 0,
    data_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> Reproduction:
    """Measures figures of paper A, judges their claims, draws them and writes the page.

    Parts that the directory holds already, with the same configuration, are taken from there,
    and an interrupted meta-training goes on from its last checkpoint: call it again to resume.

    Args:
        figures: keys of `FIGURES`, or "all".
        scale: "smoke", "laptop", "paper", or counts of your own.
        directory: the run directory.
        seed: of everything random.
        data_dir: where datasets lie.
        on_progress: called with (part, done, in all).

    Raises:
        UnknownNameError: no such figure or scale.
        DataError: the dataset is missing.
    """
    keys, chosen, directory = figure_keys(figures), get_scale(scale), Path(directory)
    setting = Setting(chosen, seed, data_dir)
    if not (directory / "config.json").exists():
        arguments = {"paper": "A", "figure": ",".join(keys), "scale": chosen.name, "seed": seed}
        write_json(directory / "config.json", {"command": "reproduce", "arguments": arguments})
    store = Store(directory, on_progress or (lambda *_: None))
    parts = {part.name: part for key in keys for part in FIGURES[key].parts(setting)}
    records = {name: store.get(part) for name, part in parts.items()}
    claims = [
        entry
        for claim in CLAIMS
        if claim.figure in keys
        for entry in measured_claims(claim, records, "A", chosen.name)
    ]
    write_json(directory / "claims.json", claims)
    return Reproduction(report.render(directory), claims, tuple(store.computed))
