"""The optimizers that are looked into, the counts of each scale, and the tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optoscope import data, optimizers, tasks
from optoscope._core.errors import FileFormatError, InvalidValueError
from optoscope.optimizers import Optimizer


@dataclass(frozen=True)
class Published:
    """An optimizer of the comparison.

    Args:
        words: what pictures call it.
        kind: for `optimizers.load_published`; empty for one of the library's own.
        files: where its weights may lie, below the folder of weights.
        source: the name of a registered or pretrained optimizer, where `kind` is empty.
        options: its arguments.
        by_coordinate: whether each coordinate is updated by itself, so that the state of one
            coordinate is all there is to know.
    """

    words: str
    kind: str = ""
    files: tuple[str, ...] = ()
    source: str = ""
    options: Mapping[str, Any] | None = None
    by_coordinate: bool = True


def _dm(words: str, name: str) -> Published:
    return Published(words, "l2o-dm", (f"{name}.npz", f"l2o-dm/{name}.npz"))


def _rnnprop(words: str, name: str) -> Published:
    return Published(words, "rnnprop", (f"{name}.npz", f"rnnprop/{name}.npz"))


CONTESTANTS: Mapping[str, Published] = {
    "dm": _dm("L2O-DM", "l2o-dm"),
    "dm_cl": _dm("L2O-DM, curriculum", "l2o-dm_cl"),
    "dm_il": _dm("L2O-DM, imitation", "l2o-dm_il"),
    "dm_cl_il": _dm("L2O-DM, both", "l2o-dm_cl_il"),
    "rnnprop": _rnnprop("RNNProp", "l2o-rnnprop"),
    "rnnprop_cl_il": _rnnprop("RNNProp, both", "l2o-rnnprop_cl_il"),
    "celo": Published(
        "Celo", "celo", ("celo.theta.state", "celo/theta.state"), by_coordinate=False
    ),
    "celo2": Published(
        "Celo2",
        "celo2",
        ("celo2_weights.pt", "celo2/celo2_weights.pt"),
        options={"learning_rate": 0.003},
        by_coordinate=False,
    ),
    "ours": Published("ours: LSTM", source="lstm-mnist-sigmoid"),
    "ours_star": Published("ours: STAR", source="star-mnist-mlp", by_coordinate=False),
    "adam": Published("Adam", source="adam", options={"learning_rate": 0.003}),
    "lion": Published("Lion", source="lion", options={"learning_rate": 0.0003}),
    "muon": Published("Muon", source="muon", options={"learning_rate": 0.01}, by_coordinate=False),
}
# Those that differ in how they were meta-trained alone.
PLAIN, BOTH = ("dm", "rnnprop"), ("dm_cl_il", "rnnprop_cl_il")
HOME = "home"


@dataclass(frozen=True)
class Scale:
    """The counts of one scale.

    Args:
        name: its name.
        images: the dataset of all tasks.
        image_size: height and width of its images; None as they come.
        steps: of a long run.
        runs: of everything that is run.
        short_steps: of the runs that are looked into.
        batches: from which a tail index is estimated.
        driven_steps: of a run on drawn gradients.
        curvature_steps: of a run on a quadratic.
        starts: from which fixed points are sought.
    """

    name: str
    images: str
    image_size: int | None
    steps: int
    runs: int
    short_steps: int
    batches: int
    driven_steps: int
    curvature_steps: int
    starts: int
    num_tasks: int = 1


SCALES: Mapping[str, Scale] = {
    "smoke": Scale("smoke", "digits", None, 60, 2, 20, 8, 30, 60, 8),
    "laptop": Scale("laptop", "mnist", 14, 4000, 3, 200, 64, 400, 2000, 64),
    "paper": Scale("paper", "mnist", None, 20_000, 5, 200, 469, 1000, 5000, 256),
}

# The first is the home of the L2O-DM optimizers, but for the size of its start.
TASKS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    HOME: ("mlp-sigmoid", {}, "MLP of 20, sigmoid"),
    "leaky-relu": ("mlp-leaky-relu", {}, "MLP of 20, leaky ReLU"),
    "batch-norm": ("mlp-batch-norm", {}, "MLP of 20, batch norm"),
    "deep": ("mlp-20-20-tanh", {}, "MLP of 20-20, tanh"),
}


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
    def present(self) -> tuple[str, ...]:
        """The contestants whose weights are there and can be read."""
        return tuple(name for name in CONTESTANTS if self.find(name) is not None)

    def find(self, name: str) -> Path | str | None:
        """Where a contestant is: a file of weights, a name, or None if it is missing."""
        one = CONTESTANTS[name]
        if not one.kind:
            return one.source
        folder = data.data_directory(self.data_dir) / "weights"
        found = next((folder / file for file in one.files if (folder / file).is_file()), None)
        if found is not None and found.suffix == ".pt" and not _has_torch():
            return None
        return found

    def load(self, name: str, num_steps: int) -> Optimizer:
        """A contestant, as it is published.

        Args:
            name: of `CONTESTANTS`.
            num_steps: the length of the run, for those that know it.

        Raises:
            InvalidValueError: its weights are missing.
            FileFormatError: they are not what they should be.
        """
        one, place = CONTESTANTS[name], self.find(name)
        options = dict(one.options or {})
        if place is None:
            raise InvalidValueError(
                f"the weights of {name} are missing: none of {', '.join(one.files)} is in "
                f"{data.data_directory(self.data_dir) / 'weights'}, or PyTorch is."
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
        _, options, _ = TASKS[name]
        given: dict[str, Any] = {"validation_size": 0, **options}
        if self.data_dir is not None:
            given["data_dir"] = self.data_dir
        if self.scale.image_size is not None:
            given["size"] = self.scale.image_size
        made = tasks.get(self.registered(name), **given)
        assert isinstance(made, tasks.Task)
        return made

    def registered(self, name: str) -> str:
        """The registered name of a task of `TASKS` at this scale."""
        return f"{self.scale.images}-{TASKS[name][0]}"

    def described(self, name: str, **values: Any) -> dict[str, Any]:
        """The configuration of a part on one contestant."""
        one, scale = CONTESTANTS[name], self.scale
        return {
            "optimizer": [one.kind or one.source, dict(one.options or {})],
            "weights": self._digest(name),
            "image_size": scale.image_size,
            "seed": self.seed,
            **values,
        }

    def _digest(self, name: str) -> str:
        """Of the file of weights, so that others are measured again."""
        import hashlib

        from optoscope._core.files import read_bytes

        place = self.find(name)
        if not isinstance(place, Path):
            return ""
        return hashlib.sha256(read_bytes(place, most=2**28, error=FileFormatError)).hexdigest()


def _has_torch() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None
