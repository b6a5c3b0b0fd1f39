"""The figures as data: what each is measured from."""

from collections.abc import Callable

from optoscope.papers._paper import Figure
from optoscope.papers._parts import Part
from optoscope.papers.published import _parts as parts
from optoscope.papers.published._setting import CONTESTANTS, TASKS, Setting

LABELS = {name: one.words for name, one in CONTESTANTS.items()} | {
    name: words for name, (_, _, words) in TASKS.items()
}


def _each(kind: Callable[[Setting, str], Part]) -> Callable[[Setting], tuple[Part, ...]]:
    return lambda setting: tuple(kind(setting, name) for name in setting.present)


def _missing(setting: Setting) -> tuple[str, ...]:
    """The contestants whose weights are not there."""
    return tuple(name for name in CONTESTANTS if name not in setting.present)


def _foretold(setting: Setting) -> tuple[Part, ...]:
    names = parts.by_coordinate(setting)
    return tuple(parts.inside(setting, name) for name in names) + tuple(
        parts.long_run(setting, name, task) for task in TASKS for name in names
    )


def _not_by_coordinate(setting: Setting) -> tuple[str, ...]:
    looked = parts.by_coordinate(setting)
    return tuple(name for name in CONTESTANTS if name not in looked)


_ALL = (
    Figure("1", "Adaptation and schedule: updates under drawn gradients",
           _each(parts.driven), _missing),
    Figure("2", "Inside: where the state comes to rest, its memory, its drift",
           _foretold, _not_by_coordinate),
    Figure("3", "Symmetry and tails", _each(parts.probed), _missing),
    Figure("4", "Curvatures that they stand", _each(parts.curvature), _missing),
    Figure("5", "Long runs on four tasks",
           lambda setting: tuple(
               parts.long_run(setting, name, task)
               for task in TASKS for name in setting.present
           ), _missing),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
