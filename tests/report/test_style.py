import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from optoscope.report._style import apart, looks, plain, save, style


def test_colors_do_not_depend_on_the_order_or_on_the_other_records():
    every = looks(["lstm", "zeta", "adam", "lion"], ["lstm"])
    assert looks(["lion", "adam", "lstm", "zeta"], ["lstm"]) == every
    assert looks(["adam"])["adam"] == every["adam"]
    assert every["lstm"].width > every["adam"].width


def test_no_two_of_many_optimizers_look_the_same():
    names = [f"optimizer{i}" for i in range(20)]
    drawn = {(look.color, look.dashes) for look in looks(names).values()}
    assert len(drawn) == 20


@given(st.lists(st.floats(-1, 2), min_size=1, max_size=9), st.floats(0.0, 0.3))
def test_labels_are_moved_apart_in_their_order_and_stay_inside(positions, gap):
    moved = apart(positions, gap)
    wanted = min(gap, 1 / max(len(positions) - 1, 1))
    ordered = [moved[i] for i in sorted(range(len(positions)), key=lambda i: positions[i])]
    assert (np.diff(ordered) >= wanted - 1e-9).all()
    assert min(moved) >= -1e-9
    assert max(moved) <= 1 + 1e-9


def test_labels_with_room_stay_where_they_are():
    assert apart([0.9, 0.1], 0.2) == [0.9, 0.1]


def test_plain_text_has_no_mathematics_and_no_control_characters():
    assert plain("$x$\n\x00y") == r"\$x\$  y"
    assert len(plain("a" * 100)) == 32


def test_style_ignores_and_restores_the_users_settings():
    with matplotlib.rc_context({"font.size": 3, "axes.grid": False}):
        with style():
            assert matplotlib.rcParams["font.size"] == 11
        assert matplotlib.rcParams["font.size"] == 3


@pytest.mark.parametrize("name", ["a", "a.b"])
def test_save_writes_both_kinds(tmp_path, name):
    figure = Figure()
    figure.subplots().plot([1, 2])
    image, drawing = save(figure, tmp_path / name)
    assert image == tmp_path / f"{name}.png"
    assert image.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in drawing.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.png", f"{name}.svg"]
