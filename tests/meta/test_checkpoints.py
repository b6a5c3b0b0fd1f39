import asyncio
import json
import os
import re
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import RunDirectoryError
from optoscope.meta import Checkpoints
from optoscope.meta._event_loops import finishing_event_loops


def tree(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "matrix": jnp.asarray(generator.normal(size=(5, 3)), jnp.float32),
        "half": jnp.asarray(generator.normal(size=4), jnp.bfloat16),
        "count": jnp.asarray(seed, jnp.int32),
        "key": jax.random.key_data(jax.random.key(seed)),
        "mask": jnp.asarray([True, False, seed > 0]),
        "odd": jnp.asarray([np.nan, np.inf, -np.inf, -0.0, 1e-45], jnp.float32),
        "empty": jnp.zeros((0, 7), jnp.float32),
        "nested": (jnp.ones(()), [jnp.zeros((2, 0), jnp.int32), jnp.full(3, seed)]),
    }


def assert_same(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_what_is_saved_comes_back_bit_by_bit(tmp_path):
    Checkpoints(tmp_path).save(7, tree(3), {"seconds": 1.5, "note": "x"})
    found = Checkpoints(tmp_path).restore(tree(0))
    assert found is not None
    step, got, info = found
    assert (step, info) == (7, {"seconds": 1.5, "note": "x"})
    assert_same(got, tree(3))


def test_nothing_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "new").restore(tree()) is None


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 5, 9):
        checkpoints.save(step, tree(step), {})
    assert checkpoints.steps() == Checkpoints(tmp_path).steps() == [9, 5]


def truncate(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    for index in range(len(content) // 4, len(content), max(1, len(content) // 4)):
        content[index] ^= 0xFF
    file.write_bytes(bytes(content))


def delete(file):
    file.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, delete])
def test_damage_to_any_file_is_either_harmless_or_seen(tmp_path, damage):
    """Whichever file is hit, what comes back is bit by bit one of the two saved trees."""
    Checkpoints(tmp_path / "whole").save(1, tree(1), {"seconds": 1.0})
    Checkpoints(tmp_path / "whole").save(2, tree(2), {"seconds": 2.0})
    whole = {
        file.relative_to(tmp_path / "whole"): file.read_bytes()
        for file in (tmp_path / "whole").rglob("*")
        if file.is_file()
    }
    fallbacks = 0
    names = sorted(name for name in whole if name.parts[0] == "2" and whole[name])
    assert len(names) >= 4
    for number, name in enumerate(names):
        directory = tmp_path / str(number)
        for file, content in whole.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_bytes(content)
        damage(directory / name)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = Checkpoints(directory).restore(tree())
        assert found is not None, name
        step, got, _ = found
        assert_same(got, tree(step))
        told = [str(one.message) for one in seen if "checkpoint 2 in" in str(one.message)]
        # A checkpoint whose mark of completeness is gone is none, and there is nothing to say.
        if step == 1 and told:
            assert re.search(r"passed over", told[0])
            assert Checkpoints(directory).steps() == [1]
        fallbacks += step == 1
    assert fallbacks >= 1


def test_when_none_is_intact_it_says_so(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, tree(step), {})
        for file in (tmp_path / str(step)).rglob("*"):
            if file.is_file() and file.stat().st_size:
                truncate(file)
    with (
        pytest.warns(UserWarning, match=r"checkpoint [12] in .* is damaged") as seen,
        pytest.raises(RunDirectoryError, match=r"none of the checkpoints \[2, 1\]"),
    ):
        Checkpoints(tmp_path).restore(tree())
    assert len(seen) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t | {"matrix": jnp.zeros((5, 4))},
        lambda t: t | {"matrix": jnp.zeros((5, 3), jnp.bfloat16)},
        lambda t: t | {"more": jnp.zeros(2)},
        lambda t: {name: leaf for name, leaf in t.items() if name != "matrix"},
    ],
    ids=["shape", "type", "more", "fewer"],
)
def test_a_run_of_another_shape_is_told_apart_from_damage(tmp_path, change):
    Checkpoints(tmp_path).save(4, tree(), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RunDirectoryError, match="another optimizer, task"):
            Checkpoints(tmp_path).restore(change(tree()))
    # Nothing was lost by trying.
    found = Checkpoints(tmp_path).restore(tree())
    assert found is not None
    assert found[0] == 4


def test_a_directory_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunDirectoryError, match="cannot write checkpoints"):
        Checkpoints(tmp_path / "file" / "checkpoints")


_DAMAGED = """
import sys, warnings
from pathlib import Path
import jax.numpy as jnp
import numpy as np
from optoscope.meta import Checkpoints
warnings.simplefilter("ignore")
place = Path(sys.argv[1])
tree = {str(i): jnp.asarray(np.random.default_rng(i).normal(size=(50, 50))) for i in range(40)}
for step in (1, 2):
    Checkpoints(place).save(step, tree, {})
# Most arrays can still be read, and are being read when the first one fails.
for file in sorted((place / "2").rglob("*")):
    if file.is_file() and file.stat().st_size > 5000:
        file.write_bytes(bytes(file.stat().st_size))
step, _, _ = Checkpoints(place).restore(tree)
print(step)
"""


def test_a_damaged_checkpoint_is_passed_over_without_a_word_from_orbax(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _DAMAGED, str(tmp_path)], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert done.stderr == ""


def test_a_loop_that_finishes_closes_after_its_tasks():
    ended = []

    async def slow():
        await asyncio.sleep(0.05)
        ended.append("slow")

    async def fails():
        raise ValueError("broken")

    async def both():
        await asyncio.gather(slow(), fails())

    with finishing_event_loops():
        loop = asyncio.new_event_loop()
        with pytest.raises(ValueError, match="broken"):
            loop.run_until_complete(both())
        assert ended == []
        loop.close()
    assert ended == ["slow"]
    assert type(asyncio.new_event_loop()) is not type(loop)


@pytest.mark.parametrize("seconds", ["x", None, [], 1e308, 2.0])
def test_information_that_was_changed_is_damage(tmp_path, seconds):
    for step in (1, 2):
        Checkpoints(tmp_path).save(step, tree(step), {"seconds": 1.0})
    (place,) = [
        file
        for file in (tmp_path / "2" / "info").rglob("*")
        if file.is_file() and "seconds" in file.read_text(errors="replace")
    ]
    place.write_text(json.dumps(json.loads(place.read_text()) | {"seconds": seconds}))
    with pytest.warns(UserWarning, match="its information does not match its digest"):
        found = Checkpoints(tmp_path).restore(tree())
    assert found is not None
    assert (found[0], found[2]) == (1, {"seconds": 1.0})


@pytest.mark.parametrize("other", ["fifo", "hole", "link"])
def test_what_is_no_file_of_a_checkpoint_is_damage(tmp_path, other):
    for step in (1, 2):
        Checkpoints(tmp_path).save(step, tree(step), {})
    for file in [file for file in (tmp_path / "2" / "state").rglob("*") if file.is_file()]:
        if other == "hole":
            with file.open("r+b") as opened:
                opened.truncate(2**31)
            continue
        file.unlink()
        if other == "fifo":
            os.mkfifo(file)
        else:
            file.symlink_to("/dev/zero")
    with pytest.warns(UserWarning, match=r"is damaged \((it has|.* is no file)"):
        found = Checkpoints(tmp_path).restore(tree())
    assert found is not None
    assert found[0] == 1


def test_a_run_in_another_precision_says_what_to_set(tmp_path):
    with jax.enable_x64(True):
        double = {"a": jnp.ones(3), "n": jnp.asarray(1)}
    single = {"a": jnp.ones(3), "n": jnp.asarray(1)}
    Checkpoints(tmp_path / "1").save(1, double, {})
    Checkpoints(tmp_path / "0").save(1, single, {})
    for flag, like in ((1, single), (0, double)):
        with pytest.raises(RunDirectoryError, match=f"Set JAX_ENABLE_X64={flag} in its"):
            Checkpoints(tmp_path / str(flag)).restore(like)
