"""The table of results, as something that the terminal can print."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optoscope.report._records import Results
from optoscope.report._summary import summarize

if TYPE_CHECKING:
    from optoscope.report._suite import SuiteRecord
    from optoscope.report._terminal import RankingTable, ResultsTable


def table(results: Results | Mapping[str, Any]) -> "ResultsTable":
    """The results as a table for the terminal, the best of each column in bold.

    Args:
        results: what `read_run` found, or the content of `results.json`.

    Returns:
        A rich renderable that fits itself to the terminal; print it with `rich.print` or a
        `rich.console.Console`.

    Raises:
        FileFormatError: a mapping is given that is not the content of a results file.

    """
    # Rich is only needed by who prints.
    from optoscope.report._terminal import ResultsTable

    return ResultsTable(summarize(results))


def ranking_table(record: "SuiteRecord") -> "RankingTable":
    """A suite's ranking for the terminal: as many columns as have room, none of them cut."""
    from optoscope.report._terminal import RankingTable

    return RankingTable(record)
