"""Parts: named computations whose arrays are kept, and reused while their configuration holds."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optoscope._core.arrays import read_arrays
from optoscope._core.errors import RunDirectoryError, RunInUseError
from optoscope._core.files import delete, read_json, write_json
from optoscope._core.locks import locked
from optoscope._core.programs import forget_programs
from optoscope._core.records import save_records

# The version of the library's numerics. Raise it with every line of the changelog that is tagged
# [Numerics], in the same commit: finished parts of papers are then computed again, not mixed with
# new ones. What changes the numbers of one kind of part alone raises that part's own `version`.
NUMERICS = 2

Arrays = Mapping[str, np.ndarray]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Workspace:
    """The folder and the progress report that a part may use while it computes.

    Args:
        place: where its own folder is, if it asks for one.
        description: of the part; a folder made under another one is emptied.
        report: says that so many of so many are done.
    """

    place: Path
    description: Mapping[str, Any]
    report: Callable[[int, int], None]

    def folder(self) -> Path:
        """A folder for checkpoints, which a later try of the same part finds again."""
        marker = self.place / "part.json"
        if self.place.exists():
            try:
                stale = read_json(marker) != self.description
            except RunDirectoryError:
                stale = True
            if stale:
                shutil.rmtree(self.place)
        write_json(marker, self.description)
        return self.place


@dataclass(frozen=True, eq=False)
class Part:
    """A named computation.

    Args:
        name: also the file name under `records/`; unique within a run directory.
        configuration: everything that its result depends on, as JSON; the parts it needs count
            by themselves.
        compute: the arrays, from the arrays of the needed parts by name.
        needs: the parts whose arrays it takes.
        programs: parts with the same name here run the same compiled programs; never two of them
            at once, so that the second finds them compiled. Nothing is said by an empty one.
        version: of what `compute` does, raised when it gives other numbers for the same
            configuration.
        exported: the folder in its workspace, if it writes one, that is meant for others.
    """

    name: str
    configuration: Mapping[str, Any]
    compute: Callable[[Mapping[str, Arrays], Workspace], Arrays]
    needs: tuple["Part", ...] = ()
    programs: str = ""
    version: int = 1
    exported: str = ""

    def description(self) -> dict[str, Any]:
        """Equal for two parts exactly if they compute the same, needed parts included."""
        needs = {part.name: _digest(part.description()) for part in self.needs}
        described = {
            "part": self.name,
            "numerics": [NUMERICS, self.version],
            "configuration": self.configuration,
            "needs": needs,
        }
        return json.loads(json.dumps(described))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(eq=False)
class Store:
    """The parts of one run directory.

    A part's arrays are in `records/<name>.npz`, its description beside it in
    `records/<name>.json`, written last: what was interrupted in between is computed again, and
    so is a part whose description has changed or whose arrays cannot be read. Several processes may
    work on one directory: a part that another one is computing is left for later, and then waited
    for.

    Args:
        directory: the run directory.
        on_progress: called with (part, done, in all).
        reuse: another run directory; parts that it has finished are taken over from there.
    """

    directory: Path
    on_progress: Progress = lambda *_: None
    reuse: Path | None = None
    computed: list[str] = field(default_factory=list)
    _known: dict[str, tuple[dict[str, Any], Arrays]] = field(default_factory=dict)
    _elsewhere: set[str] = field(default_factory=set)

    def get(self, part: Part) -> Arrays:
        """The part's arrays: from before if they are there, else computed and kept."""
        arrays = self._found(part)
        if arrays is not None:
            if part.name in self._elsewhere:
                self._take_over(part, arrays)
            return arrays

        def waiting(holder: str) -> None:
            warnings.warn(f"{part.name} is being computed by {holder}; waiting.", stacklevel=2)

        return self._computed_under_lock(part, waiting)

    def _computed_under_lock(self, part: Part, on_wait: Callable[[str], None] | None) -> Arrays:
        """The part's arrays, computed by this process unless another one has just done so."""
        with locked(self.directory / "records", f".{part.name}.lock", on_wait=on_wait):
            arrays = self._found(part)
            if arrays is None:
                description = part.description()
                arrays = self._compute(part, description)
                self._known[part.name] = (description, arrays)
            return arrays

    def get_all(self, parts: Iterable[Part], at_once: int = 1) -> dict[str, Arrays]:
        """The arrays of many parts by name.

        Args:
            parts: which; those that they need are found by themselves.
            at_once: how many are computed at the same time, in threads. With more than one, an
                interruption waits for those that have begun.
        """
        parts = tuple(parts)
        if at_once > 1:
            self._compute_at_once(self.missing(parts), at_once)
        else:
            self._compute_in_turn(self.missing(parts))
        return {part.name: self.get(part) for part in parts}

    def _compute_in_turn(self, missing: dict[str, Part]) -> None:
        """Computes what can be computed without waiting for another process."""
        waiting = list(missing.values())
        while True:
            left = []
            for part in waiting:
                if any(self._found(need) is None for need in part.needs):
                    left.append(part)
                    continue
                try:
                    self._computed_under_lock(part, None)
                except RunInUseError:
                    left.append(part)
            if len(left) in (0, len(waiting)):
                return
            waiting = left

    def missing(self, parts: Iterable[Part]) -> dict[str, Part]:
        """The parts that are yet to be computed, by name, each behind those that it needs."""
        missing: dict[str, Part] = {}
        for part in parts:
            self._add_missing(part, missing)
        return missing

    def outdated(self, parts: Iterable[Part]) -> tuple[str, ...]:
        """The parts that are finished, but with another version of the numerics.

        They are among the `missing`.
        """
        return tuple(
            name
            for name, part in self.missing(parts).items()
            if self._numerics(name) not in (None, part.description()["numerics"])
        )

    def _numerics(self, name: str) -> Any:
        """The version of the numerics that a finished part was computed with, or None."""
        try:
            described = read_json(self.directory / "records" / f"{name}.json")
            # Before there were versions there was the first one.
            return described.get("numerics", [0, 0])
        except (RunDirectoryError, AttributeError):
            return None

    def _add_missing(self, part: Part, missing: dict[str, Part]) -> None:
        """Adds the part and what it needs, unless they are there."""
        if part.name not in missing and self._found(part) is None:
            for need in part.needs:
                self._add_missing(need, missing)
            missing[part.name] = part

    def _compute_at_once(self, missing: dict[str, Part], at_once: int) -> None:
        waiting, running = dict(missing), dict[Future, Part]()

        def begin(pool: ThreadPoolExecutor) -> None:
            unfinished = waiting.keys() | {part.name for part in running.values()}
            taken = {part.programs for part in running.values()} - {""}
            for part in list(waiting.values()):
                ready = all(need.name not in unfinished for need in part.needs)
                if ready and part.programs not in taken and len(running) < at_once:
                    running[pool.submit(self.get, waiting.pop(part.name))] = part
                    taken |= {part.programs} - {""}

        with ThreadPoolExecutor(at_once) as pool:
            begin(pool)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.pop(future)
                    future.result()
                begin(pool)

    def _found(self, part: Part) -> Arrays | None:
        description = part.description()
        known = self._known.get(part.name)
        if known is None or known[0] != description:
            arrays = _saved(self.directory, part.name, description)
            if arrays is None and self.reuse is not None:
                arrays = _saved(self.reuse, part.name, description)
                if arrays is not None:
                    self._elsewhere.add(part.name)
            if arrays is None:
                return None
            known = self._known[part.name] = (description, arrays)
        return known[1]

    def _take_over(self, part: Part, arrays: Arrays) -> None:
        """Keeps a part that another run directory has finished in this one too."""
        place = Path("parts", part.name, part.exported)
        assert self.reuse is not None
        if part.exported and (self.reuse / place).is_dir():
            shutil.copytree(self.reuse / place, self.directory / place, dirs_exist_ok=True)
        self._keep(part, part.description(), arrays)
        self._elsewhere.remove(part.name)

    def _keep(self, part: Part, description: dict[str, Any], arrays: Arrays) -> None:
        # While the arrays are being replaced there must be no description that declares them valid.
        delete(self.directory / "records" / f"{part.name}.json")
        save_records(self.directory, part.name, arrays)
        write_json(self.directory / "records" / f"{part.name}.json", description)

    def _compute(self, part: Part, description: dict[str, Any]) -> Arrays:
        needed = {other.name: self.get(other) for other in part.needs}
        workspace = Workspace(
            self.directory / "parts" / part.name,
            description,
            lambda done, total: self.on_progress(part.name, done, total),
        )
        self.on_progress(part.name, 0, 1)
        found = part.compute(needed, workspace)
        arrays = {key: np.asarray(value) for key, value in found.items()}
        self._keep(part, description, arrays)
        self.computed.append(part.name)
        forget_programs()
        return arrays


def _saved(directory: Path, name: str, description: dict[str, Any]) -> Arrays | None:
    """A part's arrays as a run directory has them, if they are what is described."""
    records = directory / "records"
    try:
        if read_json(records / f"{name}.json") != description:
            return None
        return read_arrays(records / f"{name}.npz")
    # Whatever is wrong with it, the part is computed again.
    except RunDirectoryError:
        return None
