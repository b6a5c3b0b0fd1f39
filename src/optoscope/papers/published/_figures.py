"""The figures as data: what each is measured from."""

from collections.abc import Callable

from optoscope.papers._paper import Figure
from optoscope.papers._parts import Part
from optoscope.papers.published._driven import driven
from optoscope.papers.published._inside import curvature, inside
from optoscope.papers.published._runs import long_run, probed
from optoscope.papers.published._scales import TASKS
from optoscope.papers.published._setting import BASELINES, CONTESTANTS, Setting

LABELS = {name: one.words for name, one in CONTESTANTS.items()} | dict(TASKS)


def _each(kind: Callable[[Setting, str], Part]) -> Callable[[Setting], tuple[Part, ...]]:
    return lambda setting: tuple(kind(setting, name) for name in setting.present)


def _missing(setting: Setting) -> tuple[str, ...]:
    """The contestants whose weights are not there."""
    return tuple(name for name in CONTESTANTS if name not in setting.present)


def _insides(setting: Setting) -> tuple[Part, ...]:
    return tuple(inside(setting, name) for name in setting.by_coordinate)


def _not_by_coordinate(setting: Setting) -> tuple[str, ...]:
    return tuple(name for name in CONTESTANTS if name not in setting.by_coordinate)


def _long_runs(setting: Setting) -> tuple[Part, ...]:
    return tuple(long_run(setting, name, task) for task in TASKS for name in setting.present)


def _foretold(setting: Setting) -> tuple[Part, ...]:
    """Of learned optimizers alone: a baseline's rate is tuned for it to last."""
    learned = [name for name in setting.present if name not in BASELINES]
    looks = [kind(setting, name) for kind in (driven, curvature) for name in learned]
    looks += [inside(setting, name) for name in learned if name in setting.by_coordinate]
    return (*looks, *(long_run(setting, name, task) for task in TASKS for name in learned))


_ALL = (
    Figure("1", "Adaptation and schedule: updates under drawn gradients", _each(driven), _missing),
    Figure("2", "Inside one coordinate: update functions, fixed points and modes",
           _insides, _not_by_coordinate),
    Figure("3", "Symmetry and tails", _each(probed), _missing),
    Figure("4", "How near they come to the minima of quadratics", _each(curvature), _missing),
    Figure("5", "Long runs on four tasks", _long_runs, _missing),
    Figure("6", "Can one see in the weights that an optimizer will last?", _foretold, _missing),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
