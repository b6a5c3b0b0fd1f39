"""Drawing all figures of a run and writing its one self-contained page."""

import base64
import functools
import importlib.resources
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from optoscope._core.errors import OptoscopeError, RunDirectoryError
from optoscope._core.files import write_text
from optoscope._core.own_code import argument_values, argument_words, recorded_sources
from optoscope.report._claim_words import SIGNS, chance, claim_basis, claim_number, claim_test
from optoscope.report._claims import Claim
from optoscope.report._curves import left_out
from optoscope.report._figures import FIGURES, FigureKind, FigureText
from optoscope.report._interactive import (
    asset,
    embedded,
    page_data,
    policy,
    run_findings,
)
from optoscope.report._mechanisms import in_words, mode_rows, worth_rows
from optoscope.report._records import Results, Run, read_run
from optoscope.report._seen import seen
from optoscope.report._style import looks, save
from optoscope.report._suite_figures import SUITE_FIGURES
from optoscope.report._suite_words import score_table, suite_sentence, suite_tables
from optoscope.report._summary import endurance, format_number, others_win, sentence, summarize
from optoscope.report.papers import figures_of


@dataclass(frozen=True)
class _Picture:
    name: str
    text: FigureText
    uri: str
    alt: str
    claims: Sequence["_ClaimRow"] = ()


@dataclass(frozen=True)
class _ClaimRow:
    claim: Claim
    measured: str
    test: str
    basis: str
    mark: str
    kind: str


_VERDICT_KINDS = {"holds": "good", "does not hold": "bad"}


def render(directory: str | Path, *, notes: Sequence[str] = ()) -> Path:
    """Draws every figure that the records allow and writes `index.html`.

    Use it after a command, or again at any time: everything comes from the saved records. The
    page holds its pictures, its numbers, its script and its style inside itself, needs no network,
    and lets no other script run.

    Args:
        directory: the run directory.
        notes: paragraphs to show under the headline, as plain text.

    Returns:
        The path of the page.

    Raises:
        RunDirectoryError: a record is damaged, or the directory cannot be written.

    """
    run = read_run(directory)
    pictures = []
    of_paper = () if run.manifest is None else figures_of(run.manifest)
    for kind in (*FIGURES, *SUITE_FIGURES, *of_paper):
        if kind.can_draw(run):
            image = _drawn(kind, run)
            pictures.append(_picture(kind, run, image))
    page = run.directory / "index.html"
    write_text(page, _html(run, pictures, notes))
    return page


def _picture(kind: FigureKind, run: Run, image: Path) -> _Picture:
    claims = [_claim_row(c) for c in run.claims if c.figure.replace(" ", "-") == kind.name]
    text = kind.text_of(run)
    return _Picture(kind.name, text, _data_uri(image), seen(kind.name, text, run), claims)


def _drawn(kind: FigureKind, run: Run) -> Path:
    """The picture's file; records that cannot be drawn are one message."""
    try:
        image, _ = save(kind.draw(run), run.directory / "figures" / kind.name)
    except OptoscopeError:
        raise
    # What is damaged and yet a record (another rank, a column too short, numbers beyond all
    # scales) trips up whatever draws it: there is no list of such errors.
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        raise RunDirectoryError(
            f"the figure {kind.name} cannot be drawn from {run.directory / 'records'} "
            f"({type(error).__name__}: {reason}). Its records are damaged, or of another version "
            "of optoscope: write them again."
        ) from error
    return image


@functools.cache
def _template() -> jinja2.Template:
    """The page's; compiling it takes most of the time of a page without pictures."""
    template = importlib.resources.files("optoscope.report") / "templates" / "page.html.jinja"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template.read_text(encoding="utf-8"))


def _html(run: Run, pictures: Sequence[_Picture], notes: Sequence[str]) -> str:
    results, explanation = run.results, run.explanation
    versions = run.config.get("versions")
    found = in_words(explanation) if explanation else ""
    curves = run_findings(run)
    script, style = asset("uPlot.iife.min.js", "page.js"), asset("uPlot.min.css", "page.css")
    looked = {f"inspect/{panel.name}": panel.findings for panel in run.panels}
    suite = run.suite
    found = suite_sentence(suite) if suite else found
    return _template().render(
        title=_title(run),
        headline=_headline(run) or found,
        facts=_facts(run),
        notes=[*_said(results), *map(str, notes)],
        summary=summarize(results) if results else None,
        explanation=explanation,
        ranking=score_table(suite) if suite else (),
        suite_tables=suite_tables(suite) if suite else (),
        suite_notes=suite.notes if suite else (),
        worth=worth_rows(explanation) if explanation else (),
        modes=mode_rows(explanation) if explanation else (),
        claims=[_claim_row(claim) for claim in run.claims],
        chance=chance(run.claims),
        pictures=pictures,
        panels=run.panels,
        charts={name: one.charts for name, one in curves.items()},
        data=embedded(page_data(curves | looked, looks(run.names, run.learned))),
        script=script,
        style=style,
        policy=policy(script, style),
        command=_command(run),
        configuration=json.dumps(dict(run.config), indent=2, ensure_ascii=False),
        versions=versions if isinstance(versions, Mapping) else {},
    )


def _headline(run: Run) -> str:
    """What came out, in one sentence."""
    results = run.results
    if results is None:
        return ""
    if not run.panels or results.comparison is not None:
        return sentence(results)
    known = {name: o.final_loss for name, o in results.optimizers.items() if o.final_loss.known}
    if not known:
        return "Every optimizer diverged."
    best = min(known, key=lambda name: known[name].value)
    if len(results.optimizers) == 1:
        return f"{best} ends at a training loss of {format_number(known[best].value)}."
    return (
        f"{best} ends at the lowest training loss, {format_number(known[best].value)}, of "
        f"{len(results.optimizers)} optimizers."
    )


def _data_uri(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode("ascii")


def _title(run: Run) -> str:
    words = run.config.get("command")
    command = words.strip() if isinstance(words, str) and " " not in words.strip() else ""
    task = run.results.task.get("name") if run.results else _task_name(run.config.get("task"))
    parts = [str(part) for part in (command, _own_task(run) or task) if part]
    return ": ".join(parts) or run.directory.resolve().name


def _task_name(task: Any) -> Any:
    return task.get("name") if isinstance(task, Mapping) else task


def _own_task(run: Run) -> str:
    """FILE.py:NAME where the task is a person's own, whose name in the records is any task's."""
    place, _, name = str(_own_code(run).get("task", "")).rpartition(":")
    return f"{Path(place).name}:{name}" if place else ""


def _own_code(run: Run) -> dict[str, Any]:
    """The arguments of the run that name a person's own code."""
    arguments, named = run.config.get("arguments"), recorded_sources(run.config).keys()
    if not isinstance(arguments, Mapping):
        return {}
    return {
        str(name): value
        for name, value in arguments.items()
        if named & {piece.strip() for one in argument_values(value) for piece in one.split(",")}
    }


def _facts(run: Run) -> list[str]:
    """Short statements about the run, for the line under the headline."""
    facts = []
    if run.results:
        results = run.results
        plural = "" if results.num_runs == 1 else "s"
        facts.append(f"{results.num_runs} run{plural} of {results.num_steps} steps each")
        if results.seeds:
            facts.append(f"seeds {_seeds(results.seeds)}")
        if math.isfinite(results.seconds):
            facts.append(f"{_duration(results.seconds)} in all")
    if run.suite:
        suite = run.suite
        facts.append(f"{suite.num_trials} trials for everyone who is tuned")
        facts.append(f"the reference of ratios and speed-ups is {suite.reference}")
    if run.metrics is not None:
        facts.append(f"{run.metrics.step[-1]:,.0f} meta-steps")
        facts += left_out(run.metrics)
    return facts


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _claim_row(claim: Claim) -> _ClaimRow:
    mark, kind = SIGNS[claim.verdict], _VERDICT_KINDS.get(claim.verdict, "open")
    return _ClaimRow(claim, claim_number(claim), claim_test(claim), claim_basis(claim), mark, kind)


def _command(run: Run) -> str:
    """The command that repeats the run: as saved, or the subcommand with this configuration.

    A person's own code runs only where the line names it.
    """
    command = run.config.get("command")
    if isinstance(command, list | tuple):
        return shlex.join(str(word) for word in command)
    if not isinstance(command, str) or not command.strip():
        return ""
    if " " in command.strip():
        return command.strip()
    words = ["optoscope", command.strip(), "--config", str(run.directory / "config.json")]
    for name, value in _own_code(run).items():
        words += argument_words(name, value)
    return shlex.join(words)


def _said(results: Results | None) -> list[str]:
    """What is said below the headline: whether optimizers lasted, and where others are better."""
    if results is None:
        return []
    return [*endurance(results), *filter(None, [others_win(results)])]
