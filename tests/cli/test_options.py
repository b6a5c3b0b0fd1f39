"""Every option of every command has a domain, and what lies outside is refused before anything."""

import dataclasses
import json
import re
import typing
from pathlib import Path
from typing import Annotated, Any

import pytest

from optoscope._core.errors import InvalidValueError
from optoscope.cli import main
from optoscope.cli._command import RunCommand
from optoscope.cli._main import COMMANDS
from optoscope.cli._options import Domain, check_option, check_repeated


def _numbers() -> list[tuple[str, str, type, Domain]]:
    found = []
    for name, command in COMMANDS.items():
        hints = typing.get_type_hints(command, include_extras=True)
        for field in dataclasses.fields(command):
            hint = hints[field.name]
            kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
            if kind in (int, float):
                assert kind is not hint, f"{name}: {field.name} has no domain"
                found.append((name, field.name, kind, typing.get_args(hint)[1]))
    return found


NUMBERS = _numbers()


def _refused(name: str, option: str, value: str, capsys, tmp_path: Path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    assert main([name, f"--{option.replace('_', '-')}={value}"]) == 2
    assert list(tmp_path.iterdir()) == []
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(("name", "option", "kind", "domain"), NUMBERS)
def test_numbers_outside_their_domain_are_refused(
    name: str, option: str, kind: type, domain: Domain, capsys, tmp_path: Path, monkeypatch
):
    values = [str(int(domain.minimum) - 1), "9" * 20, "9" * 400]
    if kind is float:
        values = [str(domain.minimum - 1), "nan", "inf", "-inf", "1e39", "1e-300"]
    for value in values:
        message = _refused(name, option, value, capsys, tmp_path, monkeypatch)
        assert f"--{option.replace('_', '-')} is " in message, message


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if issubclass(c, RunCommand)])
@pytest.mark.parametrize("seed", ["4294967296", "-1", "12345678901234567890"])
def test_a_seed_that_another_stands_for_is_refused(
    name: str, seed: str, capsys, tmp_path: Path, monkeypatch
):
    message = _refused(name, "seed", seed, capsys, tmp_path, monkeypatch)
    assert f"--seed is {seed}; it must be a whole number from 0 to 4294967295" in message


@pytest.mark.parametrize(
    "words",
    [
        ["--steps", "1", "--steps", "2"],
        ["--steps=1", "--steps", "1"],
        ["--search_points", "3", "--search-points", "4"],
        ["--debug", "--no-debug"],
    ],
)
def test_an_option_given_twice_is_refused(words: list[str], capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "lstm-mnist-sigmoid", *words]) == 2
    assert "optoscope: --" in (message := capsys.readouterr().err)
    assert "twice" in message or "name one option" in message
    assert list(tmp_path.iterdir()) == []


def test_different_options_are_not_one():
    check_repeated(["train", "--meta-steps", "1", "--steps", "1", "--no-debug", "a", "a"])


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3], [True, 1.5, "1", None]),
        (float, [0, 0.5], [True, "1", None]),
        (bool, [True], [0, "true"]),
        (str | None, ["", None], [1, ["a"]]),
        (typing.Literal["a", "b"], ["a"], ["c", None, ["a"]]),
        (Path | None, [Path("x"), None], ["x", 1]),
    ],
)
def test_values_of_a_config_have_the_type_of_their_field(hint, good: list, bad: list):
    for value in good:
        check_option("name", hint, value)
    for value in bad:
        with pytest.raises(InvalidValueError, match=r"name in the config\.json is .* must be"):
            check_option("name", hint, value, "the config.json")


def test_a_config_obeys_the_domains_too(capsys, tmp_path: Path):
    config = tmp_path / "config.json"
    for wrong in ('"seed": -1', '"std": 1e39', '"objective": "maen"', '"optimizer": 3'):
        config.write_text(f'{{"command": "train", "arguments": {{"task": "quadratic", {wrong}}}}}')
        assert main(["train", "--config", str(config)]) == 2
        assert re.search(r"in the config\.json is|too large for a number", capsys.readouterr().err)


# Another value than the default for options whose type does not tell one.
OTHERS = {
    "task": "quadratic",
    "estimator": "pes",
    "objective": "mean",
    "schedule": "cosine",
    "set": ["hidden=3"],
    "against": "sgd",
    "metric": "final",
    "schedules": "constant",
    "probe": "norms",
    "optimizer": "sgd",
    "search": "learning_rate=0.1:1",
    "paper": "B",
    "figure": "2",
    "scale": "smoke",
}


def _other(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else OTHERS.get(name, "something else")


def _beside() -> list[tuple[str, str, str]]:
    found = []
    for name, command in COMMANDS.items():
        if not issubclass(command, RunCommand):
            continue
        positional = {"optimizer", "paper", "suite"}
        own = command().arguments().keys() - {"data_dir", *positional}
        ways = ["--config", "--resume"] if hasattr(command(), "resume") else ["--config"]
        found += [(name, option, way) for option in sorted(own) for way in ways]
    return found


@pytest.mark.parametrize(("name", "option", "way"), _beside())
def test_what_is_typed_beside_a_run_and_says_otherwise_is_refused(
    name: str, option: str, way: str, capsys, tmp_path: Path
):
    """The default is typed, and the run has another value: only the words tell."""
    default = COMMANDS[name]().arguments()[option]
    arguments = {option: _other(option, default)}
    text = json.dumps({"command": name, "arguments": arguments})
    (tmp_path / "config.json").write_text(text)
    words = [f"--{option.replace('_', '-')}"]
    if isinstance(default, bool):
        words = words if default else [f"--no-{words[0][2:]}"]
    elif isinstance(default, tuple):
        words.append("300" if option in ("curriculum", "task_horizons") else "hidden=4")
    elif default is None:
        words.append("7")
    else:
        words.append(str(default))
    assert main([name, way, str(tmp_path), *words]) == 2
    message = capsys.readouterr().err
    assert f"{words[0].replace('--no-', '--')} " in message, message
    assert f"is given together with {way}, and the run there has" in message, message
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
