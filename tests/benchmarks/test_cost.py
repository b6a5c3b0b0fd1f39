"""The model of cost against cases that were computed by hand."""

import dataclasses

import numpy as np
import pytest

from support.benchmark_modules import loaded

cost, results = loaded("_cost"), loaded("_results")
FREE = cost.Network(0.0, 1e9)
# A pair of "long" takes 3 s, one of "short" 1 s, without any spread.
EVEN = cost.Mixture(
    "even", 8, 2, 100, (cost.Work("long", 30, (0.1, 0.1)), cost.Work("short", 10, (0.1,)))
)


def test_one_task_after_the_other_by_hand():
    alone = cost.in_turn(EVEN, 1, 8, FREE, 0)
    assert alone.seconds == pytest.approx(8 * (3 + 1))
    assert alone.busy == pytest.approx(1.0)
    four = cost.in_turn(EVEN, 4, 8, FREE, 0)
    assert four.seconds == pytest.approx(2 * (3 + 1))
    # Two pairs keep two of eight devices busy, and one of three devices is of no use for eight.
    few = cost.in_turn(EVEN, 8, 2, FREE, 0)
    assert (few.seconds, few.busy, few.idle) == pytest.approx((4.0, 0.25, 0.75))
    assert cost.in_turn(EVEN, 3, 8, FREE, 0).seconds == pytest.approx(4 * (3 + 1))


def test_tasks_side_by_side_by_hand():
    # Two pairs of 3 s and two of 1 s: on two devices 4 s each, on four the longest decides.
    assert cost.shared_out(EVEN, 2, 2, FREE, 0).seconds == pytest.approx(4.0)
    four = cost.shared_out(EVEN, 4, 2, FREE, 0)
    assert (four.seconds, four.busy, four.idle) == pytest.approx((3.0, 8 / 12, 4 / 12))


def test_the_exchange_is_paid_for_each_task_and_grows_with_the_logarithm():
    network = cost.Network(0.01, 1000.0)
    assert network.all_reduce(1, 100) == 0
    assert network.all_reduce(8, 100) == pytest.approx(3 * (0.01 + 0.1))
    assert network.all_reduce(9, 100) == pytest.approx(4 * (0.01 + 0.1))
    one = cost.in_turn(EVEN, 2, 2, network, 0)
    assert EVEN.bytes_exchanged == 4 * (8 + 6)
    assert one.exchange == pytest.approx(2 * (0.01 + 0.056))
    assert one.seconds == pytest.approx(4.0 + one.exchange)
    assert one.exchanging + one.busy == pytest.approx(1.0)
    assert cost.shared_out(EVEN, 2, 2, network, 0).exchange == pytest.approx(one.exchange / 2)


def test_the_slowest_of_many_devices_is_waited_for():
    # One of ten pairs takes twice as long as the others, all of them 1 s on average. With 64
    # devices nearly always one is slow.
    work = cost.Work("uneven", 1, (1.0,) * 9 + (2.0,))
    uneven = cost.Mixture("uneven", 8, 1, 1, (work,))
    for devices in (1, 2, 64):
        one = cost.in_turn(uneven, devices, devices, FREE, 0, repeats=4000)
        expected = (1 + (1 - 0.9**devices)) / 1.1
        assert one.seconds == pytest.approx(expected, rel=0.02)
        assert one.busy == pytest.approx(1 / expected, rel=0.03)
        assert one.straggling == pytest.approx(max(0.0, 1 - 1 / one.seconds))
    again = cost.in_turn(uneven, 64, 64, FREE, 0)
    assert again == cost.in_turn(uneven, 64, 64, FREE, 0)
    assert again != cost.in_turn(uneven, 64, 64, FREE, 1)


def test_rates_are_read_as_they_were_written(tmp_path):
    rates = cost.Rates({"cpu": "x"}, "now", (EVEN,))
    cost.write_rates(tmp_path / "rates.json", rates)
    assert cost.read_rates(tmp_path / "rates.json") == rates
    bad = dataclasses.replace(EVEN, tasks=(cost.Work("none", 1, ()),))
    cost.write_rates(tmp_path / "bad.json", dataclasses.replace(rates, mixtures=(bad,)))
    with pytest.raises(results.BenchmarkError, match="without positive times"):
        cost.read_rates(tmp_path / "bad.json")


def test_the_rates_that_come_with_the_library_are_drawn(tmp_path, monkeypatch, capsys):
    scaling = loaded("scaling_cost")
    picture = tmp_path / "cost.png"
    monkeypatch.setattr(
        "sys.argv", ["scaling_cost", "--figure", str(picture), "--devices", "1", "8"]
    )
    scaling.main()
    said = capsys.readouterr().out
    for mixture in cost.read_rates(scaling.RATES).mixtures:
        assert f"{mixture.name}: weak" in said
        assert np.isfinite([task.seconds for task in mixture.tasks]).all()
    assert picture.stat().st_size > 10_000
