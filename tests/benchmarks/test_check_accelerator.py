"""The check of an accelerator, made on two CPU devices: what is wrong must really fail."""

import importlib
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts_can_be_imported():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def script(name):
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def devices():
    return script("check_accelerator").choose_devices()


def result_of(capsys, *arguments):
    status = script("check_accelerator").main(arguments)
    output = capsys.readouterr().out
    return status, json.loads(output.splitlines()[-1]), output


def test_without_an_accelerator_two_cpu_devices_are_compared(devices):
    assert devices.reference != devices.candidate
    assert not devices.has_accelerator


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_result_that_is_off_by_one_percent_anywhere_fails(devices, name):
    checks, equality = script("_accelerator_checks"), script("_accelerator_equality")
    reference = equality.trajectory(devices.reference, name)
    result = equality.trajectory(devices.candidate, name)
    tolerance = equality.optimizer_tolerance(name)
    assert checks.relative_difference(result, reference) <= tolerance
    leaves, structure = jax.tree.flatten(result)
    for index, leaf in enumerate(leaves):
        factor = 1.01 if np.issubdtype(leaf.dtype, np.inexact) else 2
        wrong = [*leaves[:index], np.asarray(leaf * factor, leaf.dtype), *leaves[index + 1 :]]
        wrong = jax.tree.unflatten(structure, wrong)
        assert checks.relative_difference(wrong, reference) > 10 * tolerance


def test_every_tolerance_sees_one_percent_and_every_optimizer_and_estimator_has_a_check(devices):
    from optoscope import optimizers

    equality = script("_accelerator_equality")
    made = [*equality.optimizer_checks(devices), *equality.estimator_checks(devices)]
    assert all(check.tolerance <= 1e-3 for check in made)
    names = " ".join(check.name for check in made)
    assert all(f"optimizer {name}:" in names for name in optimizers.names())
    assert all(f"estimator {name}:" in names for name in equality.ESTIMATORS)
    assert sorted(equality.ESTIMATORS) == sorted(equality.estimator_names())


@pytest.mark.parametrize(
    ("result", "reference"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
        (np.array([1.0, np.inf]), np.array([1.0, 2.0])),
        (np.array([1, 2]), np.array([1, 3])),
        (np.ones(2), np.ones(3)),
        (np.ones(2, np.float32), np.ones(2)),
        (np.full(2, 1e-30), np.zeros(2)),
        ({"a": np.ones(2)}, {"b": np.ones(2)}),
    ],
)
def test_what_cannot_be_compared_never_passes(result, reference):
    difference = script("_accelerator_checks").relative_difference(result, reference)
    assert not difference <= 1e6


def test_one_wrong_number_is_not_averaged_away():
    reference = np.ones(10_000)
    wrong = reference.copy()
    wrong[17] = 1.01
    difference = script("_accelerator_checks").relative_difference(wrong, reference)
    assert difference == pytest.approx(0.01)


def test_a_result_of_another_device_is_no_result(devices):
    checks = script("_accelerator_checks")
    measured = checks.compare(devices, lambda _: jax.device_put(1.0, devices.reference))
    assert measured.difference == math.inf


def test_what_raises_or_does_not_fit_is_told():
    checks = script("_accelerator_checks")

    def breaks():
        raise ValueError("no such instruction\nmore")

    clock = checks.Clock(minutes=1)
    failed = checks.make(checks.Check("breaks", 1.0, 1.0, breaks), clock)
    assert failed.status == "FAILED"
    assert failed.note == "ValueError: no such instruction"
    late = checks.make(checks.Check("long", 1.0, 100.0, breaks), clock)
    assert late.status == "skipped"
    measured = checks.Check("wrong", 0.1, 1.0, lambda: checks.Measured(0.2))
    assert checks.make(measured, clock).status == "FAILED"


def test_cpu_libraries_are_seen_in_a_program():
    programs = script("_accelerator_programs")
    assert programs.called_libraries("x = stablehlo.custom_call @lapack_sgesdd_ffi(%0)") == {
        "lapack_sgesdd_ffi"
    }
    assert programs._CPU_CALL.search("lapack_sgesdd_ffi")
    assert not programs._CPU_CALL.search("cu_threefry2x32_ffi")
    assert not programs._CPU_CALL.search("LayoutConstraint")


def test_programs_pass_their_checks(devices):
    checks = script("_accelerator_checks")
    made = script("_accelerator_programs").program_checks(devices)
    results = [checks.make(check, checks.Clock(minutes=10)) for check in made]
    assert {result.name: result.note for result in results if result.status != "ok"} == {}


def test_what_is_replaced_by_something_plain_is_still_there():
    for path in script("_accelerator_speed").PATHS:
        assert callable(getattr(path.module, path.name))


def test_a_failure_is_named_and_is_the_exit_status(capsys, monkeypatch):
    equality = script("_accelerator_equality")
    right = equality.trajectory

    def wrong(device, name, precision="highest"):
        result = right(device, name, precision)
        return (
            result if device == jax.devices()[0] else result | {"losses": 1.01 * result["losses"]}
        )

    monkeypatch.setattr(equality, "trajectory", wrong)
    status, result, _ = result_of(capsys, "--only", "optimizer sgd")
    assert status == 1
    assert result["failures"] == [result["checks"][0]["name"]]


def test_what_there_is_no_time_for_is_named_and_has_not_passed(capsys):
    status, result, _ = result_of(capsys, "--only", "optimizer", "--minutes", "0")
    assert status == 2
    assert len(result["skipped"]) == len(result["checks"])


def test_the_line_of_json(capsys, tmp_path):
    out = tmp_path / "accelerator.json"
    status, result, output = result_of(
        capsys, "--only", "STAR step on 1000", "--speed-on-cpu", "--out", str(out)
    )
    assert json.loads(out.read_text()) == result
    assert "Nothing was measured" in output
    # No check has this in its name.
    assert status == 2
    assert set(result) == {
        *("device", "measured", "checks", "rates", "sizes", "failures", "skipped"),
        *("skipped_checks", "default_precision_difference", "folded_reductions_in_star"),
        "seconds",
    }
    assert result["measured"] is False
    assert result["sizes"] == "tiny"
    assert result["device"]["platform"] == "cpu"
    (rate,) = result["rates"].values()
    assert rate["ratio_low"] <= rate["ratio_to_adam"] <= rate["ratio_high"]
    assert min(rate["inner_steps_per_second"], rate["optax_adam"]) > 0
