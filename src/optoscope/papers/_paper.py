"""A paper as data, and the one function that measures its figures and judges its claims."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optoscope import data, report, tasks
from optoscope._core.errors import InvalidValueError, UnknownNameError, check_seed
from optoscope._core.files import write_json
from optoscope.papers._claims import Claim, measured_claims
from optoscope.papers._parts import Part, Progress, Store

# For figures, the parts that they need and that are not there yet.
Plan = Mapping[str, tuple[str, ...]]

# Parts that a message names.
_NAMED = 6
# Keys of appendices begin with it.
APPENDIX = "app-"


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, or one of its open questions.

    How it is drawn, and the words beside it, are the report's: a picture can be drawn again from
    the records alone.

    Args:
        key: as the command line takes it ("4", "sweep-beta").
        title: what it is about, in a line.
        parts: the parts that it is drawn from, for the paper's setting.
        left_out: what it compares in the paper and the setting's scale leaves out, by short names.
    """

    key: str
    title: str
    parts: Callable[[Any], tuple[Part, ...]]
    left_out: Callable[[Any], tuple[str, ...]] = lambda setting: ()

    @property
    def name(self) -> str:
        """Of its files: `figure-4`, `sweep-beta`."""
        return f"figure-{self.key}" if self.key[0].isdigit() else self.key

    @property
    def heading(self) -> str:
        """The title, with its place in the paper."""
        if self.key[0].isdigit():
            return f"Figure {self.key}: {self.title}"
        if self.key.startswith(APPENDIX):
            return f"Appendix {self.key.removeprefix(APPENDIX)}: {self.title}"
        return f"Open question: {self.title}"


@dataclass(frozen=True)
class Reproduction:
    """The result of `reproduce`.

    Args:
        page: the run's page.
        claims: what was measured of each claim by each protocol, as `claims.json` holds it.
        computed: the parts that were computed; all others were there already.
    """

    page: Path
    claims: tuple[report.Claim, ...]
    computed: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """A paper's figures, claims and scales.

    Args:
        letter: "A", "B" or "C", or a word for what is no paper.
        name: of its folders, here and in the report.
        figures: by key, in the paper's order; keys that are no numbers ("4", of an appendix
            "app-4") are open questions.
        claims: the statements of the paper that are judged.
        scales: the counts of "smoke", "laptop", "paper", and of "long" where there is one.
        setting: makes what its parts are built from, of (scale, seed, data_dir, devices).
        aliases: other names of keys, for figures that are one picture here.
        labels: what its pictures call optimizers and tasks, by their short names, in order.
        missing_words: of a setting: what is left out because files of others are missing, and
            where to put them, a line each.
    """

    letter: str
    name: str
    figures: Mapping[str, Figure]
    claims: tuple[Claim, ...]
    scales: Mapping[str, Any]
    setting: Callable[[Any, int, Path | None, int], Any]
    aliases: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    missing_words: Callable[[Any], tuple[str, ...]] = lambda setting: ()

    def figure_keys(self, names: str | Sequence[str]) -> tuple[str, ...]:
        """The keys of `figures` that the names stand for, in the paper's order.

        Args:
            names: keys, or a text of keys separated by commas; "all" is every figure of the
                paper, "questions" every open question, "everything" both.

        Raises:
            UnknownNameError: no such figure.
            InvalidValueError: none is named.

        Example:
            >>> from optoscope.papers import symmetry_and_noise
            >>> symmetry_and_noise.PAPER.figure_keys("7,4")
            ('4', '7')
        """
        listed = names.split(",") if isinstance(names, str) else list(names)
        numbered = {key for key in self.figures if key.removeprefix(APPENDIX)[0].isdigit()}
        groups = {
            "all": numbered,
            "questions": set(self.figures) - numbered,
            "everything": set(self.figures),
        }
        chosen: set[str] = set()
        for name in filter(None, (name.strip() for name in listed)):
            key = self.aliases.get(name, name)
            if key in groups:
                chosen |= groups[key]
            elif key in self.figures:
                chosen.add(key)
            else:
                kind = f"figure of paper {self.letter}"
                raise UnknownNameError(kind, name, (*self.figures, *groups))
        if not chosen:
            choices = ", ".join((*self.figures, *groups))
            raise InvalidValueError(f"no figure is named; choose from {choices}.")
        return tuple(key for key in self.figures if key in chosen)

    def get_scale(self, scale: Any) -> Any:
        """A scale by name, or as it is.

        Raises:
            UnknownNameError: no such scale.
        """
        if not isinstance(scale, str):
            return scale
        if scale not in self.scales:
            raise UnknownNameError("scale", scale, self.scales)
        return self.scales[scale]

    def check_data(
        self,
        keys: Sequence[str],
        setting: Any,
        directory: str | Path | None = None,
        reuse: Path | None = None,
    ) -> None:
        """Reads, or fetches, every dataset that is needed, before anything is written.

        Args:
            keys: of `figures`.
            setting: what their parts are built from; it says where datasets lie.
            directory: a run directory; the parts that it holds already need no data.
            reuse: another one, as in `reproduce`; nor do its.

        Raises:
            DataError: a dataset is missing and cannot be fetched, or is damaged.
        """
        parts = [part for key in keys for part in self.figures[key].parts(setting)]
        store = None if directory is None else Store(Path(directory), reuse=reuse)
        missing = _with_needs(parts) if store is None else store.missing(parts)
        for name in sorted({_dataset(part) for part in missing.values()} - {""}):
            data.load(name, data_dir=setting.data_dir, verify=setting.scale.verify)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def missing(self, keys: Sequence[str], setting: Any, store: Store) -> Plan:
        """The parts that are yet to be computed, by the first figure that needs them.

        Args:
            keys: of `figures`.
            setting: what their parts are built from.
            store: the parts that are there.
        """
        found: dict[str, tuple[str, ...]] = {}
        known: set[str] = set()
        for key in keys:
            new = [n for n in store.missing(self.figures[key].parts(setting)) if n not in known]
            if new:
                found[key] = tuple(new)
                known.update(new)
        return found

    def manifest(self, keys: Sequence[str], setting: Any) -> report.Manifest:
        """What a run holds: the report reads names, titles, parts and labels from it.

        Args:
            keys: of `figures`.
            setting: what their parts are built from.
        """
        parts = {key: tuple(part.name for part in self.figures[key].parts(setting)) for key in keys}
        figures = tuple(
            report.ManifestFigure(
                key=key,
                name=self.figures[key].name,
                title=self.figures[key].heading,
                parts=parts[key],
                claims=tuple(
                    claim.id
                    for claim in self.claims
                    if claim.figure == key and claim.is_judged(parts[key])
                ),
                left_out=self.figures[key].left_out(setting),
            )
            for key in keys
        )
        scale = setting.scale.name
        return report.Manifest(self.letter, self.name, scale, figures, self.labels)

    def reproduce(
        self,
        figures: str | Sequence[str],
        scale: Any,
        directory: str | Path,
        *,
        seed: int = 0,
        data_dir: Path | None = None,
        devices: int = 1,
        at_once: int = 1,
        reuse: Path | None = None,
        on_plan: Callable[[Plan], None] | None = None,
        on_outdated: Callable[[Sequence[str]], None] | None = None,
        on_progress: Progress | None = None,
    ) -> Reproduction:
        """Measures figures, judges their claims, draws them and writes the page.

        Parts that the directory holds already, with the same configuration, are taken from
        there, and an interrupted meta-training goes on from its last checkpoint: call it again
        to resume.

        Args:
            figures: keys of `figures`, or "all".
            scale: "smoke", "laptop", "long", "paper", or counts of your own.
            directory: the run directory.
            seed: of everything random.
            data_dir: where datasets lie.
            devices: local devices to use at most.
            at_once: parts to compute at the same time, in threads: worth it where compiling is
                most of the work, but an interruption waits for all that have begun.
            reuse: another run directory, or what is kept of one beside its page of results
                (`docs/results/A`): parts that it has with the same configuration are taken over.
            on_plan: called once, with what is `missing`.
            on_outdated: called with the finished parts that are computed again since the
                library's numerics have changed, if there are any; a warning, if not given.
            on_progress: called with (part, done, in all).

        Raises:
            UnknownNameError: no such figure or scale.
            InvalidValueError: the seed is none.
            DataError: a dataset is missing.
        """
        keys, chosen, directory = self.figure_keys(figures), self.get_scale(scale), Path(directory)
        setting = self.setting(chosen, check_seed(seed), data_dir, devices)
        self.check_data(keys, setting, directory, reuse)
        if not (directory / "config.json").exists():
            arguments = {
                "paper": self.letter, "figure": ",".join(keys), "scale": chosen.name, "seed": seed,
            }  # fmt: skip
            write_json(directory / "config.json", {"command": "reproduce", "arguments": arguments})
        # Before anything is measured, so that what an interrupted run has finished can be drawn.
        write_json(directory / "manifest.json", self.manifest(keys, setting).as_json())
        store = Store(directory, on_progress or (lambda *_: None), reuse)
        if on_plan is not None:
            on_plan(self.missing(keys, setting, store))
        parts = {part.name: part for key in keys for part in self.figures[key].parts(setting)}
        outdated = store.outdated(parts.values())
        if outdated:
            (on_outdated or _warn)(outdated)
        records = store.get_all(parts.values(), at_once)
        claims = [
            entry
            for claim in self.claims
            if claim.figure in keys and claim.is_judged(records)
            for entry in measured_claims(claim, records, self.letter, chosen.name)
        ]
        write_json(directory / "claims.json", report.claims_as_json(claims))
        return Reproduction(report.render(directory), tuple(claims), tuple(store.computed))


def _with_needs(parts: Sequence[Part]) -> dict[str, Part]:
    """The parts and all that they need, by name."""
    found: dict[str, Part] = {}
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part.name not in found:
            found[part.name] = part
            waiting += part.needs
    return found


def _dataset(part: Part) -> str:
    """The dataset that a part's task reads; empty if it has none."""
    name = part.configuration.get("task")
    if not isinstance(name, str) or name not in tasks.REGISTRY:
        return ""
    entry = tasks.REGISTRY[name]
    # Unseen tasks on images can be moved to another dataset, which the smoke scale does.
    other = part.configuration.get("images", "") if "dataset" in entry.known_options else ""
    return other or entry.dataset or ""


def outdated_words(names: Sequence[str]) -> str:
    """Says that parts are computed again, and why.

    Example:
        >>> outdated_words(["lion-sgd"])
        "1 finished part is computed again, since the library's numerics have changed: lion-sgd"
    """
    count, named = len(names), ", ".join(names[:_NAMED])
    parts = "part is" if count == 1 else "parts are"
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    return (
        f"{count} finished {parts} computed again, since the library's numerics have changed: "
        f"{named}{more}"
    )


def _warn(names: Sequence[str]) -> None:
    warnings.warn(outdated_words(names), stacklevel=3)
