"""The optimizers that are looked into, and the setting that all parts share."""

import functools
import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optoscope import data, optimizers, tasks
from optoscope._core.errors import FileFormatError, InvalidValueError
from optoscope._core.files import read_bytes
from optoscope.optimizers import Optimizer
from optoscope.papers.published._scales import Scale


@dataclass(frozen=True)
class Contestant:
    """An optimizer of the comparison.

    Args:
        words: what pictures call it.
        kind: for `optimizers.load_published`; empty for one of the library's own.
        files: where its weights may lie, below the folder of weights.
        source: the name of a registered or pretrained optimizer, where `kind` is empty.
        options: its arguments.
        rates: the least and the greatest learning rate that are tried in long runs; none for
            an optimizer that has no learning rate.
        by_coordinate: whether each coordinate is updated by itself, so that the state of one
            coordinate is all there is to know.
    """

    words: str
    kind: str = ""
    files: tuple[str, ...] = ()
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    rates: tuple[float, float] | None = None
    by_coordinate: bool = True


def _dm(words: str, name: str) -> Contestant:
    return Contestant(words, "l2o-dm", (f"{name}.npz",))


def _rnnprop(words: str, name: str) -> Contestant:
    return Contestant(words, "rnnprop", (f"{name}.npz",))


def _tuned(words: str, name: str, rate: float, *, by_coordinate: bool = True) -> Contestant:
    """One with a learning rate; the rate that is given is for all but long runs."""
    return Contestant(
        words, source=name, options={"learning_rate": rate},
        rates=(rate / 10**1.5, rate * 10**1.5), by_coordinate=by_coordinate,
    )  # fmt: skip


CONTESTANTS: Mapping[str, Contestant] = {
    "dm": _dm("L2O-DM", "l2o-dm"),
    "dm_cl": _dm("L2O-DM, curriculum", "l2o-dm_cl"),
    "dm_il": _dm("L2O-DM, imitation", "l2o-dm_il"),
    "dm_cl_il": _dm("L2O-DM, both", "l2o-dm_cl_il"),
    "rnnprop": _rnnprop("RNNProp", "l2o-rnnprop"),
    "rnnprop_cl_il": _rnnprop("RNNProp, both", "l2o-rnnprop_cl_il"),
    "celo": Contestant(
        "Celo", "celo", ("celo.theta.state", "celo/theta.state"), by_coordinate=False
    ),
    "celo2": Contestant(
        "Celo2", "celo2", ("celo2_weights.pt", "celo2/celo2_weights.pt"),
        options={"learning_rate": 0.003}, rates=(1e-4, 0.1), by_coordinate=False,
    ),
    "ours_lstm": Contestant("ours: LSTM", source="lstm-mnist-sigmoid"),
    "ours_general": Contestant(
        "ours: general", source="general-mnist-sigmoid", by_coordinate=False
    ),
    "ours_star": Contestant("ours: STAR", source="star-small-mnist-mlp", by_coordinate=False),
    "adam": _tuned("Adam", "adam", 0.003),
    "lion": _tuned("Lion", "lion", 0.0003),
    "muon": _tuned("Muon", "muon", 0.01, by_coordinate=False),
}  # fmt: skip
BASELINES = ("adam", "lion", "muon")
LEARNED = tuple(name for name in CONTESTANTS if name not in BASELINES)
# The first was meta-trained with curriculum, imitation or both, the second without.
PAIRS = (("dm_cl", "dm"), ("dm_il", "dm"), ("dm_cl_il", "dm"), ("rnnprop_cl_il", "rnnprop"))
# Those of `optoscope fetch`; all other files are put there by hand.
_FETCHED = ("celo", "celo2")


@dataclass(frozen=True)
class Setting:
    """The setting that all parts share.

    Args:
        scale: the counts.
        seed: of everything random.
        data_dir: where datasets and, in `weights/`, published weights lie.
        devices: not used: nothing is meta-trained.
    """

    scale: Scale
    seed: int = 0
    data_dir: Path | None = None
    devices: int = 1

    @property
    def folder(self) -> Path:
        """Where weights are looked for."""
        return data.data_directory(self.data_dir) / "weights"

    @property
    def present(self) -> tuple[str, ...]:
        """The contestants whose weights are there and can be read."""
        return tuple(name for name in CONTESTANTS if self.find(name) is not None)

    @property
    def by_coordinate(self) -> tuple[str, ...]:
        """Those of them that update each coordinate by itself."""
        return tuple(name for name in self.present if CONTESTANTS[name].by_coordinate)

    def find(self, name: str) -> Path | str | None:
        """Where a contestant is: a file of weights, a name, or None if it is missing."""
        one = CONTESTANTS[name]
        if not one.kind:
            return one.source
        found = next((self.folder / f for f in one.files if (self.folder / f).is_file()), None)
        return None if found is not None and _is_unreadable(found) else found

    def missing_words(self, names: Iterable[str] = CONTESTANTS) -> tuple[str, ...]:
        """For each contestant that is left out, what to do so that it is there."""
        words = []
        for name in names:
            if self.find(name) is not None:
                continue
            one = CONTESTANTS[name]
            if any((self.folder / file).is_file() for file in one.files):
                how = f"{one.files[0]} is read by PyTorch: pip install 'optoscope[torch]'"
            else:
                how = f"put {one.files[0]} into {self.folder}"
                how += f", or type: optoscope fetch {name}" if name in _FETCHED else ""
            words.append(f"{one.words} is left out: {how}")
        return tuple(words)

    def load(self, name: str, num_steps: int, **changes: Any) -> Optimizer:
        """A contestant, as it is published.

        Args:
            name: of `CONTESTANTS`.
            num_steps: the length of the run, for those that know it.
            **changes: of its options.

        Raises:
            InvalidValueError: its weights are missing.
            FileFormatError: they are not what they should be.
        """
        one, place = CONTESTANTS[name], self.find(name)
        options = dict(one.options) | changes
        if place is None:
            raise InvalidValueError(
                f"the weights of {name} are missing: none of {', '.join(one.files)} is in "
                f"{self.folder}, or PyTorch is not installed."
            )
        if one.kind:
            if "num_steps" in optimizers.PUBLISHED[one.kind].options:
                options["num_steps"] = num_steps
            return optimizers.load_published(one.kind, place, **options)
        if one.source in optimizers.pretrained_names():
            return optimizers.load(one.source)
        return optimizers.get(one.source, **options)

    def task(self, name: str) -> tasks.Task:
        """A task of `TASKS`."""
        problem = self.scale.problems[name]
        given: dict[str, Any] = {"validation_size": 0}
        if self.data_dir is not None:
            given["data_dir"] = self.data_dir
        known = tasks.REGISTRY[problem.task].known(given)
        made = tasks.get(problem.task, **known | dict(problem.options))
        assert isinstance(made, tasks.Task)
        return made

    def described(self, name: str, task: str = "", **values: Any) -> dict[str, Any]:
        """The configuration of a part on one contestant, and on one task if it needs any."""
        one = CONTESTANTS[name]
        described: dict[str, Any] = {
            "optimizer": [one.kind or one.source, dict(one.options)],
            "weights": self.digest(name),
            "seed": self.seed,
            **values,
        }
        if task:
            problem = self.scale.problems[task]
            described |= {"task": problem.task, "task_options": dict(problem.options)}
        return described

    def digest(self, name: str) -> str:
        """The digest of the file of weights, so that others are measured again."""
        place = self.find(name)
        return _digest(place, place.stat().st_mtime_ns) if isinstance(place, Path) else ""


# A part is described many times.
@functools.lru_cache(maxsize=64)
def _digest(place: Path, changed: int) -> str:
    content = read_bytes(place, most=2**28, error=FileFormatError)
    return hashlib.sha256(content).hexdigest()


def _is_unreadable(file: Path) -> bool:
    return file.suffix == ".pt" and importlib.util.find_spec("torch") is None
