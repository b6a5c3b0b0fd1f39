"""Compiled programs on disk: intact or absent, bounded, shared, and without effect on results."""

import errno
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from optoscope._core import compilation_cache
from optoscope._core.compilation_cache import (
    VARIABLE,
    ProgramStore,
    enable_compilation_cache,
    machine_description,
)

VALUE = bytes(range(256)) * 40


def entries(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.program"))


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, problems: list[str]) -> ProgramStore:
    return ProgramStore(tmp_path, "this machine", on_problem=problems.append)


def test_what_is_put_is_got_under_its_own_key_alone(store: ProgramStore, problems: list[str]):
    store.put("a", VALUE)
    store.put("b", b"")
    assert (store.get("a"), store.get("b"), store.get("c")) == (VALUE, b"", None)
    store.put("a", b"another")
    assert store.get("a") == b"another"
    assert problems == []


def test_a_name_may_hold_anything(store: ProgramStore, tmp_path: Path):
    key = "../../jit_ä/\n" * 40
    store.put(key, VALUE)
    assert store.get(key) == VALUE
    assert [path.parent for path in entries(tmp_path)] == [tmp_path]


def test_programs_of_another_machine_are_not_found(store: ProgramStore, tmp_path: Path):
    store.put("a", VALUE)
    assert ProgramStore(tmp_path, "another machine").get("a") is None


def flipped(content: bytes) -> bytes:
    return content[:99] + bytes([content[99] ^ 1]) + content[100:]


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda c: c[:-1], lambda c: c[:7], lambda c: b"", lambda c: c + b"\0"],
    ids=["bit", "end", "digest", "empty", "longer"],
)
def test_a_damaged_entry_is_absent_and_made_anew(store: ProgramStore, tmp_path: Path, damage):
    store.put("a", VALUE)
    (entry,) = entries(tmp_path)
    entry.write_bytes(damage(entry.read_bytes()))
    assert store.get("a") is None
    assert entries(tmp_path) == []
    store.put("a", VALUE)
    assert store.get("a") == VALUE


def test_an_entry_under_another_name_is_damaged(store: ProgramStore, tmp_path: Path):
    store.put("a", VALUE)
    (entry,) = entries(tmp_path)
    store.put("b", b"another")
    (other,) = set(entries(tmp_path)) - {entry}
    other.write_bytes(entry.read_bytes())
    assert store.get("b") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_an_entry_does_not_block(store: ProgramStore, tmp_path: Path):
    store.put("a", VALUE)
    (entry,) = entries(tmp_path)
    entry.unlink()
    os.mkfifo(entry)
    assert store.get("a") is None
    store.put("a", VALUE)
    assert store.get("a") == VALUE


def test_a_folder_in_place_of_an_entry_is_a_problem_and_no_more(
    store: ProgramStore, tmp_path: Path, problems: list[str]
):
    store.put("a", VALUE)
    (entry,) = entries(tmp_path)
    entry.unlink()
    entry.mkdir()
    for _ in range(2):
        assert store.get("a") is None
        store.put("a", VALUE)
    assert len(problems) == 1
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_the_longest_unused_go_when_room_is_needed(tmp_path: Path):
    store = ProgramStore(tmp_path, "", most_bytes=10 * 20_000)
    for index in range(9):
        store.put(str(index), bytes(16_000))
        (place,) = set(entries(tmp_path)) - {
            p for p in entries(tmp_path) if p.stat().st_mtime < 1e6
        }
        os.utime(place, (index, index))
    assert store.get("0") is not None  # used just now
    store.put("large", bytes(90_000))
    left = {name for name in map(str, range(9)) if store.get(name) is not None}
    assert "0" in left
    assert "1" not in left
    assert store.get("large") is not None
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 10 * 20_000
    store.put("too large for any room", bytes(300_000))
    assert store.get("too large for any room") is None


def test_what_a_killed_process_left_is_cleared_away(store: ProgramStore, tmp_path: Path):
    old, new = tmp_path / "old.part", tmp_path / "new.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.put("a", VALUE)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_keeps_nothing(
    store: ProgramStore, tmp_path: Path, problems: list[str], monkeypatch, number: int
):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    store.put("a", VALUE)
    store.put("b", VALUE)
    assert list(tmp_path.iterdir()) == []
    assert len(problems) == 1
    assert os.strerror(number) in problems[0]


def test_several_may_write_read_and_clear_at_once(tmp_path: Path):
    def work(worker: int) -> list[str]:
        problems = []
        store = ProgramStore(tmp_path, "", most_bytes=200_000, on_problem=problems.append)
        for turn in range(60):
            name = str((7 * worker + turn) % 20)
            found = store.get(name)
            if found not in (None, name.encode() * 9000):
                problems.append(f"{name} is wrong")
            store.put(name, name.encode() * 9000)
        return problems

    with ThreadPoolExecutor(4) as pool:
        assert [problem for problems in pool.map(work, range(4)) for problem in problems] == []


class TestEnabling:
    @pytest.fixture(autouse=True)
    def _the_tests_own_cache_comes_back(self, monkeypatch: pytest.MonkeyPatch):
        yield
        monkeypatch.undo()
        enable_compilation_cache()

    @pytest.fixture(autouse=True)
    def _nothing_is_chosen(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv(VARIABLE)

    def test_off_in_either_place(self, monkeypatch, problems):
        assert not enable_compilation_cache("off", on_problem=problems.append)
        monkeypatch.setenv(VARIABLE, "OFF")
        assert not enable_compilation_cache(on_problem=problems.append)
        assert problems == []

    def test_the_variable_moves_it(self, monkeypatch, tmp_path):
        monkeypatch.setenv(VARIABLE, str(tmp_path / "new" / "place"))
        assert enable_compilation_cache()
        jax.jit(lambda x: x * 3.25)(1.5)
        assert entries(tmp_path / "new" / "place" / "programs")

    def test_by_default_it_is_in_the_users_folder(self, monkeypatch, tmp_path):
        monkeypatch.setattr(
            compilation_cache.platformdirs, "user_cache_path", lambda name: tmp_path / name
        )
        assert enable_compilation_cache()
        assert (tmp_path / "optoscope" / "programs").is_dir()

    @pytest.mark.parametrize("place", ["~/.cache/optoscope", "/no/such/home/.cache/optoscope"])
    def test_without_a_home(self, monkeypatch, problems, place):
        monkeypatch.setenv("HOME", "/no/such/home")
        monkeypatch.setattr(compilation_cache.platformdirs, "user_cache_path", lambda name: place)
        assert not enable_compilation_cache(on_problem=problems.append)
        assert len(problems) == 1
        assert "no home directory" in problems[0]
        assert not Path("/no").exists()

    def test_where_no_folder_can_be(self, tmp_path, problems):
        (tmp_path / "file").write_text("")
        assert not enable_compilation_cache(tmp_path / "file", on_problem=problems.append)
        assert len(problems) == 1

    @pytest.mark.skipif(not hasattr(os, "getuid"), reason="no such permissions here")
    def test_where_others_may_write_nothing_is_run(self, tmp_path, problems):
        (tmp_path / "programs").mkdir()
        (tmp_path / "programs").chmod(0o777)
        assert not enable_compilation_cache(tmp_path, on_problem=problems.append)
        assert "others may write" in problems[0]

    def test_jaxs_own_cache_stays(self, tmp_path):
        before = jax.config.jax_compilation_cache_dir
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
        try:
            assert enable_compilation_cache(tmp_path / "ours")
        finally:
            jax.config.update("jax_compilation_cache_dir", before)
        assert not (tmp_path / "ours").exists()


def test_the_machine_is_known_by_processor_and_cores(monkeypatch: pytest.MonkeyPatch):
    here = machine_description()
    monkeypatch.setenv("NPROC", "77")
    assert machine_description() != here
    monkeypatch.undo()
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(99)))
        assert machine_description() != here
    monkeypatch.setattr(compilation_cache, "_processor", lambda: "another processor")
    assert "another processor" in machine_description()


META_TRAINING = textwrap.dedent(
    """
    import sys, jax, optax
    import optoscope
    from optoscope import meta, optimizers, tasks

    kept = optoscope.enable_compilation_cache()
    estimator = meta.PES(
        tasks.as_distribution(tasks.get("quadratic")), num_particles=2, truncation=3, horizon=9
    )
    trainer = meta.Trainer(estimator, optax.adam(1e-3), steps_per_call=2, checkpoint_every=2)
    optimizer = optimizers.sgd(0.1)
    key, directory, steps, place = jax.random.key(0), sys.argv[1], int(sys.argv[2]), sys.argv[3]
    result = trainer.run(optimizer, steps, key=key, directory=directory)
    optimizers.save(place, result.optimizer, {})
    print(kept)
    """
)


def test_results_are_the_same_without_with_and_across_a_resume(tmp_path: Path):
    """Compiled, compiled and kept, read from the cache, and half of each: bit for bit."""

    def meta_train(cache: str, directory: str, steps: int) -> bytes:
        optimizer = tmp_path / directory / f"after-{steps}"
        arguments = [str(tmp_path / directory), str(steps), str(optimizer)]
        environment = dict(os.environ, **{VARIABLE: cache})
        done = subprocess.run(
            [sys.executable, "-c", META_TRAINING, *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(cache != "off")
        (weights,) = optimizer.glob("*.safetensors")
        return weights.read_bytes()

    cache = str(tmp_path / "cache")
    expected = meta_train("off", "plain", 6)
    assert meta_train(cache, "resumed", 4) != expected  # cold
    assert entries(tmp_path / "cache" / "programs")
    assert meta_train(cache, "resumed", 6) == expected  # warm
    assert meta_train(cache, "warm", 6) == expected
