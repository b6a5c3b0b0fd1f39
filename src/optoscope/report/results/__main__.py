"""The command `python -m optoscope.report.results`."""

import argparse
import sys
from pathlib import Path

from optoscope._core.errors import OptoscopeError
from optoscope.report._claims import read_claims
from optoscope.report.results import read_earlier, write_results


def main(words: list[str] | None = None) -> int:
    """Writes the page of one run; what is wrong with the run is one line."""
    parser = argparse.ArgumentParser(
        "python -m optoscope.report.results",
        description="Write a paper's page of results from a finished run of `optoscope reproduce`.",
    )
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the documentation")
    parser.add_argument(
        "--earlier", type=Path, help="verdicts of an earlier page, to say which have changed"
    )
    parser.add_argument(
        "--beside", type=Path, help="claims.json of a run of the same paper at another scale"
    )
    given = parser.parse_args(words)
    try:
        earlier = None if given.earlier is None else read_earlier(given.earlier)
        beside = () if given.beside is None else read_claims(given.beside)
        page = write_results(given.run, given.docs, earlier=earlier, beside=beside)
    except OptoscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
