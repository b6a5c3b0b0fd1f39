import builtins
import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optoscope._core.errors import OptoscopeError
from optoscope.meta import MetricsLog, Report, TensorBoard


def report(step, **changes):
    base = Report(step, 1.5, 2.5, 0.25, 0, 0, 10.0)
    return dataclasses.replace(base, **changes)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_holds_the_report(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    log.append(report(10))
    log.append(report(20, evaluation_loss=0.5))
    first, second = lines(log.path)
    assert first == {
        "step": 10,
        "meta_loss": 1.5,
        "inner_loss": 2.5,
        "gradient_norm": 0.25,
        "skipped": 0,
        "non_finite_tasks": 0,
        "seconds": 10.0,
        "skipped_for_loss": 0,
        "skipped_for_gradient": 0,
        "skipped_for_state": 0,
        "evaluation_seconds": 0.0,
    }
    assert second["evaluation_loss"] == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(tmp_path, value):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    log.append(report(1, meta_loss=value, evaluation_loss=value))
    assert "NaN" not in log.path.read_text()
    assert "Infinity" not in log.path.read_text()
    assert lines(log.path)[0]["meta_loss"] is None
    assert lines(log.path)[0]["evaluation_loss"] is None


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_log_cut_anywhere_goes_on_without_gaps_or_repeats(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in range(1, 6):
        log.append(report(step))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    # A line is whole with or without its newline.
    whole = sum(json_ok(line) for line in content[:cut].splitlines())
    step = data.draw(st.integers(0, whole))
    log = MetricsLog(path, step)
    for later in range(step + 1, 7):
        log.append(report(later))
    assert [line["step"] for line in lines(path)] == list(range(1, 7))


def json_ok(line):
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def test_bytes_that_are_no_text_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\x00\xff\xfe\n[1]\nnull\n{"other": 2}\n{"step": 2}\n')
    MetricsLog(path, 5)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "tensorboardX":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptoscopeError, match=r"pip install 'optoscope\[tensorboard\]'"):
        TensorBoard(tmp_path)
