"""The figures of paper B, drawn from the records of its parts."""

from optoscope.report._paper_b._adaptation import adaptation, manifold
from optoscope.report._paper_b._groups import groups
from optoscope.report._paper_b._marks import TASKS
from optoscope.report._paper_b._momentum import momentum
from optoscope.report._paper_b._performance import performance, violins
from optoscope.report._paper_b._recovered import meta_training, recovered
from optoscope.report._paper_b._schedules import schedules
from optoscope.report._paper_b._search import searches
from optoscope.report._paper_b._text import (
    ADAPTATION_TEXT,
    CLIPPING_TEXT,
    GROUPS_TEXT,
    KNOWN_TEXT,
    MANIFOLD_TEXT,
    META_TRAINING_TEXT,
    MOMENTUM_TEXT,
    PERFORMANCE_TEXT,
    RECOVERED_TEXT,
    SCHEDULE_TEXT,
    VIOLIN_TEXT,
    search_text,
)
from optoscope.report._paper_b._updates import clipping, known_updates
from optoscope.report._paper_figure import PaperFigure, paper_figure


def _of_tasks(*kinds: str) -> tuple[str, ...]:
    return tuple(f"{kind}-{task}" for kind in kinds for task in TASKS)


_RECOVERED = tuple(
    f"{kind}-recovered" for kind in ("states", "fixed-points", "tuned", "performance")
)
PAPER_B: tuple[PaperFigure, ...] = (
    paper_figure("1", ("tasks", *_of_tasks("performance")), performance, PERFORMANCE_TEXT),
    paper_figure("2", ("known-updates",), known_updates, KNOWN_TEXT),
    paper_figure("3", _of_tasks("states", "fixed-points", "tuned"), momentum, MOMENTUM_TEXT),
    paper_figure("4", _of_tasks("clipping"), clipping, CLIPPING_TEXT),
    paper_figure("5", _of_tasks("schedule", "fixed-points", "tuned"), schedules, SCHEDULE_TEXT),
    paper_figure(
        "6", _of_tasks("adaptation", "fixed-points", "tuned"), adaptation, ADAPTATION_TEXT
    ),
    paper_figure("7", ("groups-cnn", "fixed-points-cnn"), groups, GROUPS_TEXT),
    paper_figure("13", ("fixed-points-cnn", "manifold-cnn"), manifold, MANIFOLD_TEXT),
    paper_figure("14", _RECOVERED, recovered, RECOVERED_TEXT),
    paper_figure(
        "15", ("meta-training-recovered", "tuned-recovered"), meta_training, META_TRAINING_TEXT
    ),
    paper_figure("17", _of_tasks("performance"), violins, VIOLIN_TEXT),
    *(
        paper_figure(str(key), (f"tuned-{task}",), searches(task), search_text(str(key), words))
        for key, (task, words) in enumerate(TASKS.items(), start=18)
    ),
)
