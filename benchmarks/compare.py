"""Compares the suite's speeds at two revisions: `make bench-compare REV=main~3`.

The earlier revision is checked out into a temporary git worktree, which is removed afterwards, also
after a failure or Ctrl-C. The present benchmark scripts, in the present environment, measure both:
for every row one process imports that revision's `src` and another the present one, both compile,
and then they take turns round by round, so that what else the machine does meets both alike. The
change is the median over rounds of what one round gave against the other, with its spread; it is
called better or worse only if every round agrees.

With two result files of `suite.py` instead of a revision, their numbers are compared as they are;
they were measured at different times, so the spread holds whatever two rounds could give.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _measuring import Source, measure, present
from _results import (
    ROOT,
    BenchmarkError,
    Revision,
    comparison_table,
    default_path,
    git,
    read_results,
    write_results,
)
from _workers import in_one_message
from suite import add_options, chosen_rows

# A hook that the user has for checkouts has no business in a temporary one.
_WITHOUT_HOOKS = ("-c", "core.hooksPath=/dev/null")


def commit_of(revision: str, root: Path = ROOT) -> str:
    """The commit that a revision names.

    Raises:
        BenchmarkError: none.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", root=root)
    except BenchmarkError:
        raise BenchmarkError(
            f'"{revision}" names no commit here; write a branch, a tag, a commit or main~3.'
        ) from None


@contextmanager
def worktree(revision: str, root: Path = ROOT) -> Iterator[Source]:
    """A temporary checkout of a revision, gone afterwards however the block ends.

    Raises:
        BenchmarkError: there is no such revision, or it holds no src/optoscope.
    """
    commit = commit_of(revision, root)
    # The folder itself is removed with what git leaves in it.
    with tempfile.TemporaryDirectory(prefix="optoscope-bench-") as folder:
        checkout = Path(folder) / "checkout"
        try:
            git(
                *_WITHOUT_HOOKS, "worktree", "add", "--detach", "--quiet",
                str(checkout), commit, root=root,
            )  # fmt: skip
            if not (checkout / "src" / "optoscope").is_dir():
                raise BenchmarkError(f"{revision} has no src/optoscope, so it cannot be measured.")
            yield Source(checkout / "src", Revision(commit, dirty=False))
        finally:
            _remove(checkout, root)


def _remove(checkout: Path, root: Path) -> None:
    """Removes a worktree and what git remembers of it; a second Ctrl-C does not stop that."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for words in (("remove", "--force", "--force", str(checkout)), ("prune",)):
            # A worktree that was never added cannot be removed; there is nothing to say about it.
            subprocess.run(["git", "-C", str(root), "worktree", *words], capture_output=True)
    finally:
        signal.signal(signal.SIGINT, previous)


def compare_files(earlier: Path, later: Path) -> None:
    """Prints the table of two result files."""
    before, after = read_results(earlier), read_results(later)
    print(comparison_table(before, after, alternate=False))
    differing = sorted(
        name
        for name in {*before.machine, *after.machine} - {"load_average"}
        if before.machine.get(name) != after.machine.get(name)
    )
    if differing:
        print(f"\nThe machines differ in: {', '.join(differing)}.")


def compare_revision(revision: str, only: list[str], rounds: int) -> None:
    """Measures both revisions, prints the table and writes both results."""
    started = time.perf_counter()
    rows = chosen_rows(only)
    with worktree(revision) as source:
        results = measure(rows, [source, present()], rounds)
    print()
    print(comparison_table(*results, alternate=True))
    paths = [default_path(one.date, one.revision, "compared-") for one in results]
    for path, one in zip(paths, results, strict=True):
        write_results(path, one)
    written = " and ".join(str(path) for path in dict.fromkeys(paths))
    print(f"\n{time.perf_counter() - started:.0f} s; written to {written}")


def main() -> None:
    """Compares a revision with the present one, or two files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("earlier", help="a git revision, or a result file if `later` is given")
    parser.add_argument("later", nargs="?", help="a result file")
    add_options(parser)
    options = parser.parse_args()
    if options.later is None:
        compare_revision(options.earlier, options.only, options.rounds)
    else:
        compare_files(Path(options.earlier), Path(options.later))


if __name__ == "__main__":
    sys.exit(in_one_message(main))
