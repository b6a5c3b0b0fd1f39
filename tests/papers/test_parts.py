"""Parts are computed once, and again exactly when something they depend on has changed."""

import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from optoscope.papers import _parts
from optoscope.papers import reverse_engineering as paper
from optoscope.papers._parts import Arrays, Part, Store, Workspace


def source(value: int = 1) -> Part:
    return Part("source", {"value": value}, lambda _needed, _space: {"x": np.full(3, value)})


def doubled(need: Part) -> Part:
    def compute(needed: Mapping[str, Arrays], _: Workspace) -> Arrays:
        return {"y": 2 * needed["source"]["x"]}

    return Part("doubled", {}, compute, (need,))


def test_a_part_and_what_it_needs_are_computed_once(tmp_path: Path):
    store = Store(tmp_path)
    np.testing.assert_array_equal(store.get(doubled(source()))["y"], [2, 2, 2])
    assert store.computed == ["source", "doubled"]
    store.get(doubled(source()))
    assert store.computed == ["source", "doubled"]


def test_a_finished_part_is_taken_from_disk_without_what_it_needed(tmp_path: Path):
    first = Store(tmp_path).get(doubled(source()))
    (tmp_path / "records" / "source.npz").unlink()
    again = Store(tmp_path)
    np.testing.assert_array_equal(again.get(doubled(source()))["y"], first["y"])
    assert again.computed == []


def test_a_changed_configuration_recomputes_it_and_what_depends_on_it(tmp_path: Path):
    Store(tmp_path).get(doubled(source(1)))
    store = Store(tmp_path)
    np.testing.assert_array_equal(store.get(doubled(source(5)))["y"], [10, 10, 10])
    assert store.computed == ["source", "doubled"]


def test_within_one_store_too(tmp_path: Path):
    store = Store(tmp_path)
    store.get(source(1))
    np.testing.assert_array_equal(store.get(source(2))["x"], [2, 2, 2])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no description"])
def test_a_damaged_part_is_recomputed(tmp_path: Path, damage: str):
    Store(tmp_path).get(source())
    archive = tmp_path / "records" / "source.npz"
    content = bytearray(archive.read_bytes())
    if damage == "truncated":
        archive.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[60] ^= 0xFF
        archive.write_bytes(content)
    elif damage == "empty":
        archive.write_bytes(b"")
    else:
        (tmp_path / "records" / "source.json").write_text("{")
    store = Store(tmp_path)
    np.testing.assert_array_equal(store.get(source())["x"], [1, 1, 1])
    assert store.computed == ["source"]


def test_a_part_that_fails_leaves_nothing_that_looks_finished(tmp_path: Path):
    def fail(_needed: Mapping[str, Arrays], _space: Workspace) -> Arrays:
        raise KeyboardInterrupt

    Store(tmp_path).get(source(1))
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get(Part("source", {"value": 2}, fail))
    store = Store(tmp_path)
    np.testing.assert_array_equal(store.get(source(2))["x"], [2, 2, 2])
    assert store.computed == ["source"]


def test_a_workspace_survives_an_interruption_but_not_another_configuration(tmp_path: Path):
    seen: list[list[str]] = []

    def part(value: int, *, interrupted: bool) -> Part:
        def compute(_needed: Mapping[str, Arrays], space: Workspace) -> Arrays:
            folder = space.folder()
            seen.append(sorted(path.name for path in folder.iterdir()))
            (folder / "checkpoint").write_text("half")
            if interrupted:
                raise KeyboardInterrupt
            return {}

        return Part("long", {"value": value}, compute)

    for value, interrupted in ((1, True), (1, True), (2, False)):
        try:
            Store(tmp_path).get(part(value, interrupted=interrupted))
        except KeyboardInterrupt:
            assert interrupted
    assert seen == [["part.json"], ["checkpoint", "part.json"], ["part.json"]]


def slow(
    name: str,
    events: list,
    *needs: Part,
    programs: str = "",
    meeting: threading.Barrier | None = None,
) -> Part:
    def compute(needed: Mapping[str, Arrays], _: Workspace) -> Arrays:
        events.append(("begins", name))
        if meeting is not None:
            meeting.wait(timeout=30)
        time.sleep(0.05)
        events.append(("ends", name))
        return {"sum": 1 + sum(arrays["sum"] for arrays in needed.values())}

    return Part(name, {}, compute, needs, programs)


def test_several_at_once_give_the_same_and_wait_for_what_they_need(tmp_path: Path):
    events: list = []
    meeting = threading.Barrier(2)
    a, b = (slow(name, events, meeting=meeting) for name in "ab")
    c = slow("c", events, a, b)
    found = Store(tmp_path).get_all([c, a, slow("d", events, c)], at_once=2)
    assert list(found) == ["c", "a", "d"]
    assert [int(found[name]["sum"]) for name in "acd"] == [1, 3, 4]
    assert {name for _, name in events[:2]} == {"a", "b"}
    assert [name for _, name in events[4:]] == ["c", "c", "d", "d"]
    store = Store(tmp_path)
    store.get_all([c], at_once=2)
    assert store.computed == []


def test_parts_that_share_programs_never_run_at_once(tmp_path: Path):
    events: list = []
    parts = [slow(name, events, programs="same") for name in "ab"]
    Store(tmp_path).get_all([*parts, slow("c", events)], at_once=2)
    order = [event for event in events if event[1] != "c"]
    assert order == [("begins", "a"), ("ends", "a"), ("begins", "b"), ("ends", "b")]
    assert events.index(("begins", "c")) < events.index(("ends", "a"))


def test_the_first_failure_is_reported_and_nothing_more_begins(tmp_path: Path):
    def fail(needed: Mapping[str, Arrays], space: Workspace) -> Arrays:
        raise ValueError("broken part")

    events: list = []
    broken = Part("broken", {}, fail)
    with pytest.raises(ValueError, match="broken part"):
        Store(tmp_path).get_all([slow("a", events, broken), slow("b", events, broken)], at_once=2)
    assert events == []


def test_a_finished_part_of_another_version_is_not_reused_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = Store(tmp_path)
    first.get(doubled(source()))
    assert first.outdated([doubled(source())]) == ()
    monkeypatch.setattr(_parts, "NUMERICS", _parts.NUMERICS + 1)
    store = Store(tmp_path)
    assert set(store.outdated([doubled(source())])) == {"source", "doubled"}
    store.get(doubled(source()))
    assert store.computed == ["source", "doubled"]
    assert Store(tmp_path).outdated([doubled(source())]) == ()


def test_a_part_has_a_version_of_its_own(tmp_path: Path):
    Store(tmp_path).get(source())
    changed = dataclasses.replace(source(), version=2)
    store = Store(tmp_path)
    assert store.outdated([changed]) == ("source",)
    # Another configuration is another part, not an outdated one.
    assert store.outdated([source(5)]) == ()
    store.get(changed)
    assert store.computed == ["source"]


def test_parts_from_before_there_were_versions_are_outdated(tmp_path: Path):
    Store(tmp_path).get(source())
    path = tmp_path / "records" / "source.json"
    described = json.loads(path.read_text())
    del described["numerics"]
    path.write_text(json.dumps(described))
    assert Store(tmp_path).outdated([source()]) == ("source",)


def test_a_reproduction_warns_of_them_or_tells_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paper.reproduce("2", "smoke", tmp_path)
    monkeypatch.setattr(_parts, "NUMERICS", _parts.NUMERICS + 1)
    told: list = []
    with pytest.warns(UserWarning, match="numerics have changed: known-updates"):
        assert paper.reproduce("2", "smoke", tmp_path).computed == ("known-updates",)
    monkeypatch.setattr(_parts, "NUMERICS", _parts.NUMERICS + 1)
    paper.reproduce("2", "smoke", tmp_path, on_outdated=told.append)
    assert told == [("known-updates",)]


def exporting(value: int = 1) -> Part:
    def compute(_needed: Mapping[str, Arrays], space: Workspace) -> Arrays:
        (space.folder() / "made").mkdir()
        (space.folder() / "made" / "text").write_text("for others")
        return {"x": np.full(3, value)}

    return Part("source", {"value": value}, compute, exported="made")


def test_what_another_run_has_finished_is_taken_over_with_what_it_exported(tmp_path: Path):
    Store(tmp_path / "first").get(exporting())
    store = Store(tmp_path / "second", reuse=tmp_path / "first")
    assert store.missing([doubled(exporting())]).keys() == {"doubled"}
    np.testing.assert_array_equal(store.get(doubled(exporting()))["y"], [2, 2, 2])
    assert store.computed == ["doubled"]
    shutil.rmtree(tmp_path / "first")
    alone = Store(tmp_path / "second")
    assert alone.missing([exporting(), doubled(exporting())]) == {}
    assert (tmp_path / "second" / "parts/source/made/text").read_text() == "for others"


def test_of_another_run_what_has_other_settings_is_not_taken_over(tmp_path: Path):
    Store(tmp_path / "first").get(source(1))
    store = Store(tmp_path / "second", reuse=tmp_path / "first")
    np.testing.assert_array_equal(store.get(source(2))["x"], [2, 2, 2])
    assert store.computed == ["source"]
