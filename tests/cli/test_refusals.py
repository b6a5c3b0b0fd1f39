"""A command that is refused leaves no run directory, so that the corrected line can take it.

The options are read from the commands: one that is new is tried on the day it is there. A new
command needs a line in `LINES`.
"""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from optoscope._core.errors import DataError, InvalidValueError
from optoscope.cli import main
from optoscope.cli._command import RunCommand
from optoscope.cli._main import COMMANDS
from optoscope.cli._tune import _distribution

# A good line of each command that writes a run directory; positional words come first.
LINES = {
    "demo": [],
    "train": ["lstm", "--task=quadratic"],
    "evaluate": ["gru-quadratic", "--task=quadratic"],
    "inspect": ["gru-quadratic", "--task=quadratic"],
    "explain": ["gru-quadratic", "--task=quadratic"],
    "tune": ["adam", "--task=quadratic"],
    "reproduce": ["A", "--scale=smoke"],
    "suite": ["smoke"],
}
# The same on data that are not there.
WITHOUT_DATA = {
    "train": ["lstm", "--task=mnist-mlp-relu"],
    "evaluate": ["gru-quadratic", "--task=mnist-mlp-relu"],
    "inspect": ["gru-quadratic", "--task=mnist-mlp-relu"],
    "explain": ["gru-quadratic", "--task=mnist-mlp-relu"],
    "tune": ["adam", "--task=mnist-mlp-relu"],
    "suite": ["small"],
    # Paper B's tasks have no dataset.
    "reproduce A": ["A", "--scale=laptop"],
    "reproduce published": ["published", "--scale=laptop"],
    "reproduce C": ["C", "--scale=laptop", "--figure=everything"],
}


def _words(hint: Any) -> list[str]:
    """Values that an option of the type must refuse."""
    kinds = typing.get_args(hint) or (hint,)
    if Path in kinds:
        return ["{file}/x"]
    if typing.get_origin(hint) is tuple or str in kinds:
        return ["no such thing", "no-such=1", "no.py:such", "no.such:thing"]
    if typing.get_origin(hint) is typing.Literal:
        return ["no such thing"]
    return []


def _cases() -> list[tuple[str, str, str]]:
    found = []
    for name, command in COMMANDS.items():
        if not issubclass(command, RunCommand):
            continue
        hints = typing.get_type_hints(command)
        for field in dataclasses.fields(command):
            # Data that are not needed may be anywhere.
            if field.name != "data_dir":
                found += [(name, field.name, word) for word in _words(hints[field.name])]
    return found


def _line(name: str, option: str, value: str) -> list[str]:
    words = [word for word in LINES[name] if not word.startswith(f"--{option}=")]
    if option in ("optimizer", "paper", "suite"):
        return [name, value, *words[1:]]
    # A run that goes on, or is repeated, has the rest in its config.json.
    words = [] if option in ("resume", "config") else words
    return [name, *words, f"--{option.replace('_', '-')}={value}"]


def test_every_command_that_writes_a_run_directory_has_a_line():
    writing = {name for name, command in COMMANDS.items() if issubclass(command, RunCommand)}
    assert set(LINES) == writing
    assert {name.split()[0] for name in WITHOUT_DATA} == writing - {"demo"}


@pytest.mark.parametrize(("name", "option", "value"), _cases())
def test_a_wrong_value_of_any_option_leaves_nothing(
    name: str, option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    words = _line(name, option, value.format(file=tmp_path / "file"))
    if option not in ("out", "resume"):
        words.append("--out=out")
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_data_that_are_not_there_are_missed_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    def unreachable(*_: object, **__: object) -> None:
        raise DataError("mnist cannot be fetched: the network is unreachable.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("optoscope.data._fetch._fetch", unreachable)
    words = [name.split()[0], *WITHOUT_DATA[name], f"--data-dir={tmp_path / 'data'}"]
    for out in (["--out=out"], []):
        assert main([*words, *out]) == 2
        assert "mnist cannot be fetched" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (("momentum", 0.5, 1.0), "--search momentum=0.5:1: a decay is at least 0 and below 1"),
        (("learning_rate", 1.0, 0.1), "--search learning_rate=1:0.1: the first number must be"),
    ],
)
def test_a_range_that_cannot_be_searched_is_named_as_it_was_typed(bounds, words):
    with pytest.raises(InvalidValueError, match=re.escape(words)):
        _distribution(*bounds)
    assert _distribution("momentum", 0.5, 0.99).high == pytest.approx(0.5)
