"""Metrics as JSON lines, and their copy for TensorBoard."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optoscope._core.errors import OptoscopeError, RunDirectoryError
from optoscope._core.files import MOST_LINES_BYTES, parse_json, read_bytes, read_lines, write_text


def join_logs(places: Sequence[Path], path: Path) -> None:
    """Writes the metrics of several runs, of which each went on from the one before, as one.

    Args:
        places: the directories, each with its `metrics.jsonl`.
        path: the file to write; steps, seconds and counts go on where the run before ended.
    """
    counted = ("step", "seconds", "evaluation_seconds", "skipped", "non_finite_tasks")
    lines, before = [], dict.fromkeys(counted, 0)
    for place in places:
        own = [
            # Lines of earlier versions do not say what evaluations took.
            line | {name: line.get(name, 0) + count for name, count in before.items()}
            for line in read_lines(place / "metrics.jsonl")
        ]
        lines += own
        if own:
            before = {name: own[-1][name] for name in before}
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))


class MetricsLog:
    """`metrics.jsonl`: one line per report, in order, without gaps or repeats after a resume.

    Args:
        path: the file.
        step: the step the run goes on from; lines after it, and a line cut off by a kill, are
            dropped.
    """

    def __init__(self, path: Path, step: int):
        self.path = path
        kept = []
        if path.exists():
            content = read_bytes(path, most=MOST_LINES_BYTES)
            for line in content.decode("utf-8", errors="replace").splitlines():
                try:
                    if parse_json(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue
        write_text(path, "".join(f"{line}\n" for line in kept))

    def append(self, report: Any) -> None:
        """Adds a report; numbers that are not finite become null."""
        line = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in dataclasses.asdict(report).items()
            if name != "evaluation_loss" or value is not None
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise RunDirectoryError(f"cannot write {self.path}: {error.strerror}.") from error


class TensorBoard:
    """Copies reports to TensorBoard; give it to `Trainer.run(on_report=…)`.

    Args:
        directory: where the event files go.

    Raises:
        OptoscopeError: the extra is not installed.
    """

    def __init__(self, directory: str | Path):
        self.check_installed()
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

        self._writer = SummaryWriter(str(directory))

    @staticmethod
    def check_installed() -> None:
        """Raises OptoscopeError unless the extra is installed; call it before a long run."""
        try:
            import tensorboardX  # noqa: F401 # pyright: ignore[reportMissingImports]
        except ImportError:
            raise OptoscopeError(
                "TensorBoard needs an extra: pip install 'optoscope[tensorboard]'."
            ) from None

    def __call__(self, report: Any) -> None:
        """Writes every number of the report as a scalar."""
        for name, value in dataclasses.asdict(report).items():
            if name != "step" and value is not None:
                self._writer.add_scalar(f"meta/{name}", value, report.step)
        self._writer.flush()
