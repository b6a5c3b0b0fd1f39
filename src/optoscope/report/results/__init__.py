"""A paper's page of results in the documentation, made from a finished run of `reproduce`.

    python -m optoscope.report.results RUN --docs docs --earlier docs/results/earlier-verdicts.json

Every number and every verdict on the page is read from the run's `claims.json` and records, so that
a page cannot say what was not measured. What the pages have in common is `page.md.jinja`; what a
paper adds (what it is about, what was chosen) is `results.md.jinja` beside its pictures, and quotes
no outcome.
"""

from optoscope.report.results._earlier import EarlierRun, EarlierVerdict, read_earlier
from optoscope.report.results._page import write_results

__all__ = ["EarlierRun", "EarlierVerdict", "read_earlier", "write_results"]
