"""Command lines that nobody thought of: checked whole, with what would run taken out."""

import dataclasses
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optoscope import data
from optoscope._core.errors import InvalidValueError, OptoscopeError
from optoscope.cli import main
from optoscope.cli._command import RunCommand
from optoscope.cli._list import List
from optoscope.cli._main import COMMANDS
from optoscope.cli._plot import Plot
from optoscope.cli._processes import Processes
from optoscope.cli._reproduce import Reproduce
from optoscope.cli._suite import Suite

NUMBERS = ["0", "1", "2", "7", "-1", "2147483647", "2147483648", "9" * 30, "0.5", "nan", "-inf"]
NUMBERS += ["1e39", "1e-300", "1_0", "0x10", "", "¹", "1e5", "100000"]
NAMES = ["", ",", "a,b", "quadratic", "digits-mlp-sigmoid", "lstm", "adam", "adam,adam", "sgd"]
NAMES += ["norms", "symmetry", "states", "lstm-mnist-sigmoid", "gru-quadratic", "A", "Q", "[/x]"]
NAMES += ["learning_rate=1:2", "learning_rate=-1:2", "momentum=0.5:1.5", "eps=nan:1", "x", "é", "4"]
NAMES += ["smoke", "pes", "full-es", "cosine", "localhost:1", "localhost:99999", "auto", ":", "~"]
NAMES += ["gs://b/c", "~nobody-at-all", "/dev/null", "/proc/x", ".", "..", "a" * 300]
VALUES = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(NAMES))


class StoppedError(OptoscopeError):
    """Stands for everything after the checks."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(COMMANDS)))
    # With --debug a traceback is what was asked for.
    fields = [f.name for f in dataclasses.fields(COMMANDS[name]) if f.name != "debug"]
    fields = [field.replace("_", "-") for field in fields]
    options = draw(st.lists(st.tuples(st.sampled_from(fields), VALUES), max_size=4))
    positional = draw(st.lists(st.sampled_from(NAMES), max_size=1))
    # Most lines name a quick task, so that they come as far as the last check.
    quick = ["--task=quadratic"] if "task" in fields and draw(st.integers(0, 3)) else []
    return [name, *positional, *quick, *(f"--{option}={value}" for option, value in options)]


@pytest.fixture(scope="module")
def nothing_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    def stop(*_: object, **__: object) -> int:
        raise StoppedError("here the run would begin")

    place = tmp_path_factory.mktemp("lines")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("OPTOSCOPE_DATA_URL", "http://127.0.0.1:9")
        patch.setattr(RunCommand, "new_directory", stop)
        patch.setattr(Reproduce, "_begun", stop)
        patch.setattr(Suite, "_begun", stop)
        patch.setattr(Processes, "_initialize", stop)
        patch.setattr(Processes, "_meet", stop)
        for command in (Plot, List):
            patch.setattr(command, "run", stop)
        yield place


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(command_lines())
def test_every_line_is_run_or_refused_in_one_message(nothing_runs: Path, capsys, words: list[str]):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(words)
    err = capsys.readouterr().err
    assert code in (0, 2), words
    assert "Traceback" not in err, words
    assert list(nothing_runs.iterdir()) == [], words


def test_a_home_that_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch, capsys):
    assert main(["evaluate", "~nobody-at-all/run"]) == 2
    assert "the optimizer is '~nobody-at-all/run'" in capsys.readouterr().err
    monkeypatch.setenv("OPTOSCOPE_DATA", "~nobody-at-all")
    with pytest.raises(InvalidValueError, match="the data directory is '~nobody-at-all'"):
        data.data_directory()


@pytest.mark.parametrize(("before", "within"), [(700, 10_000), (50_000, 50_000), (0, 0)])
def test_garbage_is_looked_for_less_often_while_a_command_runs(before, within, monkeypatch):
    found, ours = [], gc.get_threshold()
    monkeypatch.setattr(List, "run", lambda _: found.append(gc.get_threshold()) or 0)
    try:
        gc.set_threshold(before, 10, 10)
        assert main(["list", "tasks"]) == 0
        assert gc.get_threshold()[0] == before
    finally:
        gc.set_threshold(*ours)
    assert found == [(within, 10, 10)]
