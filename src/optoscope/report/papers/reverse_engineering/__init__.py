"""The figures of paper B, drawn from the records of its parts."""

from optoscope.report.papers._figure import PaperFigure
from optoscope.report.papers.reverse_engineering._adaptation import adaptation
from optoscope.report.papers.reverse_engineering._groups import groups
from optoscope.report.papers.reverse_engineering._lines import lines, manifold
from optoscope.report.papers.reverse_engineering._marks import TASKS
from optoscope.report.papers.reverse_engineering._momentum import momentum
from optoscope.report.papers.reverse_engineering._performance import performance, violins
from optoscope.report.papers.reverse_engineering._recovered import meta_training, recovered
from optoscope.report.papers.reverse_engineering._schedules import schedules
from optoscope.report.papers.reverse_engineering._search import searches
from optoscope.report.papers.reverse_engineering._text import (
    ADAPTATION_TEXT,
    CLIPPING_TEXT,
    GROUPS_TEXT,
    KNOWN_TEXT,
    LINES_TEXT,
    MANIFOLD_TEXT,
    META_TRAINING_TEXT,
    MOMENTUM_TEXT,
    PERFORMANCE_TEXT,
    RECOVERED_TEXT,
    SCHEDULE_TEXT,
    SEARCH_TEXT,
    VIOLIN_TEXT,
)
from optoscope.report.papers.reverse_engineering._updates import clipping, known_updates
from optoscope.report.papers.reverse_engineering._words import STATEMENTS

__all__ = ["FIGURES", "STATEMENTS"]

FIGURES: dict[str, PaperFigure] = {
    "1": PaperFigure(performance, PERFORMANCE_TEXT),
    "2": PaperFigure(known_updates, KNOWN_TEXT),
    "3": PaperFigure(momentum, MOMENTUM_TEXT),
    "4": PaperFigure(clipping, CLIPPING_TEXT),
    "5": PaperFigure(schedules, SCHEDULE_TEXT),
    "6": PaperFigure(adaptation, ADAPTATION_TEXT),
    "7": PaperFigure(groups, GROUPS_TEXT),
    "13": PaperFigure(manifold, MANIFOLD_TEXT),
    "14": PaperFigure(recovered, RECOVERED_TEXT),
    "15": PaperFigure(meta_training, META_TRAINING_TEXT),
    "17": PaperFigure(violins, VIOLIN_TEXT),
    **{
        str(key): PaperFigure(searches(task), SEARCH_TEXT)
        for key, task in enumerate(TASKS, start=18)
    },
    "lines": PaperFigure(lines, LINES_TEXT),
}
