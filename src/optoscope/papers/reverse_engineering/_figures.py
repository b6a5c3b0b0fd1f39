"""The figures of paper B as data: what each is measured from."""

from collections.abc import Callable

from optoscope.papers._paper import Figure
from optoscope.papers._parts import Part
from optoscope.papers.reverse_engineering._dynamics import fixed_points, states
from optoscope.papers.reverse_engineering._lines import line, manifold
from optoscope.papers.reverse_engineering._mechanisms import (
    adaptation,
    clipping,
    groups,
    known_updates,
    schedule,
)
from optoscope.papers.reverse_engineering._meta_training import meta_training
from optoscope.papers.reverse_engineering._runs import performance, problems
from optoscope.papers.reverse_engineering._scales import LASTING
from optoscope.papers.reverse_engineering._searches import tuned
from optoscope.papers.reverse_engineering._setting import RECOVERED, TASKS, Setting

OnTask = Callable[[Setting, str], Part]


def _on_all_tasks(*kinds: OnTask) -> Callable[[Setting], tuple[Part, ...]]:
    return lambda setting: tuple(kind(setting, name) for name in TASKS for kind in kinds)


def _recovers(setting: Setting) -> tuple[Part, ...]:
    return tuple(
        kind(setting, RECOVERED) for kind in (states, fixed_points, tuned, performance)
    )  # fmt: skip


def _lines(setting: Setting) -> tuple[Part, ...]:
    return tuple(line(setting, name) for name in setting.guests)


def _without(setting: Setting) -> tuple[str, ...]:
    return tuple(name for name in LASTING if name not in setting.guests)


_SEARCHES = dict(zip(("18", "19", "20", "21"), TASKS, strict=True))
_WORDS = ("linear regression", "Rosenbrock", "two moons", "the CNN")

_ALL = (
    Figure("1", "Four tasks against tuned baselines",
           lambda setting: (problems(setting), *_on_all_tasks(performance)(setting))),
    Figure("2", "Update functions of known optimizers", lambda setting: (known_updates(),)),
    # The timescale's claim is about tuned momentum.
    Figure("3", "Momentum (figures 3, 8 and 9)", _on_all_tasks(states, fixed_points, tuned)),
    Figure("4", "Gradient clipping (figures 4 and 10)", _on_all_tasks(clipping)),
    Figure("5", "Schedules (figures 5 and 11)", _on_all_tasks(schedule, fixed_points, tuned)),
    Figure("6", "Adaptation (figures 6 and 12)", _on_all_tasks(adaptation, fixed_points, tuned)),
    Figure("7", "Tuning per layer and parameter type",
           lambda setting: (groups(setting), fixed_points(setting, "cnn"))),
    Figure("13", "A manifold of fixed points",
           lambda setting: (fixed_points(setting, "cnn"), manifold(setting))),
    Figure("14", "The optimizer that recovers momentum", _recovers),
    Figure("15", "Its way there through meta-training",
           lambda setting: (meta_training(setting), tuned(setting, RECOVERED))),
    Figure("17", "The meta-objective of every optimizer", _on_all_tasks(performance)),
    *(
        Figure(key, f"The searches on {words}", lambda setting, n=name: (tuned(setting, n),))
        for (key, name), words in zip(_SEARCHES.items(), _WORDS, strict=True)
    ),
    Figure("lines", "Lines of fixed points in published optimizers", _lines, _without),
)  # fmt: skip
FIGURES: dict[str, Figure] = {figure.key: figure for figure in _ALL}
ALIASES = {"8": "3", "9": "3", "10": "4", "11": "5", "12": "6"}
