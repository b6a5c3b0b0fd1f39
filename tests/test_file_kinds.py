"""Every kind of file that the library reads, damaged in many ways: read, or one error says why.

A kind of file that is new gets a line in `KINDS`.
"""

import copy
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from optoscope import optimizers, report
from optoscope._core.arrays import read_arrays, write_arrays
from optoscope._core.errors import OptoscopeError
from optoscope._core.files import read_lines, write_json
from optoscope.cli._command import RunCommand
from optoscope.cli._main import COMMANDS
from optoscope.data import load
from optoscope.papers._parts import Part, Store
from optoscope.report import _page
from support.run_files import (
    CLAIMS,
    EXPLANATION,
    make_losses,
    make_metrics,
    make_probes,
    make_results,
    make_search,
    write_run,
)
from support.stand_in_data import write_images, write_text
from support.weight_files import SHAPES, as_flax, drawn, written


def make_run(folder: Path) -> None:
    write_run(
        folder,
        results=make_results(),
        losses=make_losses(runs=3, steps=20),
        search=make_search(),
        metrics=make_metrics(5),
        probes=make_probes(runs=3),
        claims=CLAIMS,
        explanation=EXPLANATION,
    )


def make_reproduction(folder: Path) -> None:
    make_run(folder)
    figure = report.ManifestFigure("2", "figure-2", "A figure", ("illustration",), ("A3",), ("b",))
    manifest = report.Manifest("A", "symmetry_and_noise", "smoke", (figure,), {"adam": "Adam"})
    write_json(folder / "manifest.json", manifest.as_json())


def read_run(folder: Path) -> Any:
    """All that a command says of a run, but for the pictures."""
    run = report.read_run(folder)
    if run.results is not None:
        report.table(run.results)
        report.endurance(run.results)
    if run.explanation is not None:
        report.explanation_tables(run.explanation)
    return _page._html(run, [], [])


def draw_run(folder: Path) -> str:
    return report.render(folder).read_text()


def make_optimizer(folder: Path) -> None:
    optimizers.save(folder, optimizers.get("lstm", hidden_size=2), {"task": {"name": "quadratic"}})


def read_optimizer(folder: Path) -> Any:
    loaded = optimizers.load(folder)
    return [leaf.tolist() for _, leaf in optimizers.named_leaves(loaded)]


def make_learned(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        needed = {"num_steps": 10} if optimizers.entry(name).takes_num_steps else {}
        optimizers.save(folder, optimizers.get(name, **needed), {"task": {"name": "quadratic"}})

    return make


def make_published(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        arrays = drawn(SHAPES[name])
        written(folder / "theirs.npz", arrays)
        save_file(arrays, folder / "theirs.safetensors")
        (folder / "theirs.state").write_bytes(as_flax(arrays))

    return make


def make_published_for_torch(folder: Path) -> None:
    import torch

    arrays = drawn(SHAPES["adafac"])
    torch.save(
        {key: torch.from_numpy(value) for key, value in arrays.items()}, folder / "theirs.pt"
    )


def read_published(name: str, ending: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        options = {"num_steps": 10} if name == "celo" else {}
        loaded = optimizers.load_published(name, folder / f"theirs.{ending}", **options)
        return [leaf.tolist() for _, leaf in optimizers.named_leaves(loaded)]

    return read


def read_for_torch(folder: Path) -> Any:
    from optoscope.torch._files import load_rule

    return load_rule(folder)[1]


def make_config(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        arguments = COMMANDS[name]().arguments()
        write_json(folder / "config.json", {"command": name, "arguments": arguments})

    return make


def read_config(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        return COMMANDS[name](config=folder / "config.json").configured().arguments()

    return read


PART = Part("part", {"width": 3}, lambda needed, workspace: {"a": np.arange(6.0).reshape(2, 3)})


def make_part(folder: Path) -> None:
    Store(folder).get(PART)


def read_part(folder: Path) -> Any:
    return Store(folder).get(PART)["a"].tolist()


def read_data(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        options = {} if name == "tinyshakespeare" else {"validation_size": 2}
        loaded = load(name, data_dir=folder, verify=False, **options)
        return np.asarray(loaded.train if options == {} else loaded.train.inputs).sum()

    return read


@dataclass(frozen=True)
class Kind:
    """A kind of file: who makes a good one, where it lies, who reads it.

    Args:
        make: writes it, and what else its reader wants, into a folder.
        file: its path in the folder.
        read: gives what it holds, or raises an OptoscopeError.
        mends: whether what is damaged is made anew in place of an error.
    """

    make: Callable[[Path], None]
    file: str
    read: Callable[[Path], Any]
    mends: bool = False


KINDS = {
    **{
        f"configuration of {name}": Kind(make_config(name), "config.json", read_config(name))
        for name, command in COMMANDS.items()
        if issubclass(command, RunCommand)
    },
    "configuration of a run": Kind(make_run, "config.json", read_run),
    "results": Kind(make_run, "results.json", read_run),
    "claims": Kind(make_run, "claims.json", read_run),
    "explanation": Kind(make_run, "explanation.json", read_run),
    "metrics": Kind(make_run, "metrics.jsonl", read_run),
    "losses": Kind(make_run, "records/evaluation.npz", read_run),
    "search": Kind(make_run, "records/search.npz", read_run),
    "probes": Kind(make_run, "records/probes.npz", read_run),
    "texts of probes": Kind(make_run, "records/probes.json", read_run),
    "manifest": Kind(make_reproduction, "manifest.json", read_run),
    "arrays of a part": Kind(make_part, "records/part.npz", read_part, mends=True),
    "description of a part": Kind(make_part, "records/part.json", read_part, mends=True),
    "description of an optimizer": Kind(make_optimizer, "optimizer.json", read_optimizer),
    "weights of an optimizer": Kind(make_optimizer, "optimizer.safetensors", read_optimizer),
    **{
        f"description of {name}": Kind(make_learned(name), "optimizer.json", read_optimizer)
        for name in optimizers.names()
        if optimizers.entry(name).learned and name != "lstm"
    },
    "description for PyTorch": Kind(make_optimizer, "optimizer.json", read_for_torch),
    "weights for PyTorch": Kind(make_optimizer, "optimizer.safetensors", read_for_torch),
    **{
        f"published {name}.{ending}": Kind(
            make_published(name), f"theirs.{ending}", read_published(name, ending)
        )
        for name, ending in [
            *((name, "npz") for name in optimizers.PUBLISHED.names()),
            ("celo2", "safetensors"),
            ("celo2", "state"),
            ("celo", "state"),
        ]
    },
    "published weights for PyTorch": Kind(
        make_published_for_torch, "theirs.pt", read_published("adafac", "pt")
    ),
    "text": Kind(write_text, "tinyshakespeare/input.txt", read_data("tinyshakespeare")),
    "images": Kind(write_images, "mnist/train-images-idx3-ubyte.gz", read_data("mnist")),
}  # fmt: skip
RECORDS = [name for name, kind in KINDS.items() if kind.file.endswith(".npz")]
JSON = [name for name, kind in KINDS.items() if kind.file.endswith(".json")]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Callable[[str], tuple[Kind, Path, bytes]]:
    """A folder with a good file of a kind: (kind, its path, its content)."""
    folders: dict[str, Path] = {}

    def get(name: str) -> tuple[Kind, Path, bytes]:
        kind = KINDS[name]
        skip_without_torch(name)
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("good")
            kind.make(folders[name])
        path = folders[name] / kind.file
        return kind, path, path.read_bytes()

    return get


def skip_without_torch(name: str) -> None:
    if name.endswith("for PyTorch"):
        pytest.importorskip("torch")


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fails where the block waits for something that does not come."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not read within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def folder_of(kind: Kind, path: Path) -> Path:
    return path.parents[len(Path(kind.file).parts) - 1]


@pytest.fixture
def attempt(good) -> Iterator[Callable[[str, bytes], OptoscopeError | None]]:
    """Reads a kind with other content; gives the error, if there was one."""
    mended = []

    def read(name: str, content: bytes) -> OptoscopeError | None:
        kind, path, before = good(name)
        mended.append((path, before))
        path.write_bytes(content)
        problem = None
        try:
            with within(60):
                kind.read(folder_of(kind, path))
        except OptoscopeError as error:
            problem = error
        finally:
            path.write_bytes(before)
        if problem is not None:
            assert not kind.mends, f"{name} is to be made anew: {problem}"
            text = str(problem)
            assert "\n" not in text, text
            assert len(text) < 2000, text
            # Who has many files wants to know which.
            assert any(part in text for part in (path.name, folder_of(kind, path).name)), text
        return problem

    yield read
    for path, before in mended:
        path.write_bytes(before)


@pytest.mark.parametrize("name", KINDS)
def test_a_good_file_is_read(good, name):
    kind, path, before = good(name)
    assert kind.read(folder_of(kind, path)) == kind.read(folder_of(kind, path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", KINDS)
def test_truncated_files(attempt, good, name):
    content = good(name)[2]
    for length in {0, 7, len(content) // 3, len(content) * 3 // 4, len(content) - 1}:
        attempt(name, content[:length])


@pytest.mark.parametrize("name", KINDS)
def test_flipped_bits(attempt, good, name):
    content = good(name)[2]
    generator = random.Random(name)
    for _ in range(8):
        damaged = bytearray(content)
        for _ in range(generator.choice([1, 1, 1, 8])):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        attempt(name, bytes(damaged))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("other", ["fifo", "folder", "zeros without end", "hole"])
def test_what_is_no_file_or_has_a_hole(tmp_path, monkeypatch, name, other):
    kind = KINDS[name]
    skip_without_torch(name)
    if name == "weights for PyTorch":  # up to 4 GB are read otherwise
        monkeypatch.setattr("optoscope.torch._files.MOST_WEIGHT_BYTES", 2**30)
    kind.make(tmp_path)
    path = tmp_path / kind.file
    if other == "hole":
        with path.open("r+b") as file:
            file.truncate(2**31)
    else:
        path.unlink()
        makers = {"fifo": os.mkfifo, "folder": Path.mkdir}
        makers.get(other, lambda path: path.symlink_to("/dev/zero"))(path)
    with within(60):
        if kind.mends and other != "folder":
            assert kind.read(tmp_path)
            return
        with pytest.raises(OptoscopeError, match=path.name):
            kind.read(tmp_path)


WRONG = (
    [],
    {},
    "x",
    "",
    3,
    -1,
    0.5,
    1e308,
    -1e308,
    True,
    None,
    10**9,
    10**400,
    ["x"],
    {"x": 1},
    "\0",
)


def changed(value: Any) -> Iterator[Any]:
    """The value with every part of it replaced by every wrong one, and left out."""

    def places(inner: Any, path: tuple) -> Iterator[tuple]:
        if path:
            yield path
        if isinstance(inner, dict):
            pairs = list(inner.items())
        else:
            # Of a list the first two stand for all.
            pairs = list(enumerate(inner[:2])) if isinstance(inner, list) else []
        for key, other in pairs:
            yield from places(other, (*path, key))

    for path in places(value, ()):
        for wrong in (*WRONG, KeyError):
            other = copy.deepcopy(value)
            inner = other
            for key in path[:-1]:
                inner = inner[key]
            if wrong is KeyError:
                del inner[path[-1]]
            else:
                inner[path[-1]] = wrong
            yield other
    yield from WRONG


@pytest.mark.parametrize("name", JSON)
def test_every_field_of_a_wrong_type(attempt, good, name):
    value = json.loads(good(name)[2])
    alternatives = list(changed(value))
    # Of the large files, which repeat themselves, not all.
    for other in random.Random(name).sample(alternatives, min(40, len(alternatives))):
        attempt(name, json.dumps(other).encode())


def test_every_field_of_a_line_of_a_wrong_type(attempt, good):
    lines = [json.loads(line) for line in good("metrics")[2].splitlines()]
    for other in changed(lines[-1]):
        content = "".join(json.dumps(line) + "\n" for line in (*lines[:-1], other))
        attempt("metrics", content.encode())
    kind, path, _ = good("metrics")
    assert read_lines(folder_of(kind, path) / kind.file) == lines


def other_arrays(array: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays that a record should not have in the place of one."""
    return {
        "text": np.full(array.shape, "a"),
        "complex": array.astype(complex),
        "booleans": np.ones(array.shape, bool),
        "empty": array[:0],
        "a scalar": np.asarray(1.0),
        "one dimension more": array[None],
        "one dimension less": array.reshape(-1)[:3],
        "shorter": array[: len(array) // 2],
        "infinite": np.full(array.shape, np.inf),
        "not a number": np.full(array.shape, np.nan),
        "immense": np.full(array.shape, 1e308),
        "immense of both signs": np.where(np.arange(array.size).reshape(array.shape) % 2, 1, -1)
        * 1e308,
        "zero": np.zeros(array.shape),
        "negative": np.full(array.shape, -1.0),
        "tiny": np.full(array.shape, 5e-324),
    }


def damaged_records(name: str, path: Path, every: int) -> Iterator[tuple[str, bytes]]:
    arrays = read_arrays(path)
    other = path.with_name("other.npz")
    for key in list(arrays)[::every]:
        for what, array in other_arrays(arrays[key]).items():
            write_arrays(other, arrays | {key: array})
            content = other.read_bytes()
            other.unlink()
            yield f"{name}: {key} is {what}", content


@pytest.mark.parametrize("name", RECORDS)
def test_records_with_other_arrays(attempt, good, name):
    _, path, _ = good(name)
    for _, content in list(damaged_records(name, path, every=3)):
        attempt(name, content)


@pytest.mark.parametrize("name", ["losses", "search", "probes"])
def test_records_with_other_arrays_are_drawn_or_refused(good, name, monkeypatch):
    _, path, before = good(name)
    # A picture is drawn as small as can be: what is tried is whether it can be drawn.
    monkeypatch.setattr("optoscope.report._style.DOTS_PER_INCH", 20)
    run = path.parents[1]
    wanted = {"losses": "losses", "search": "rate_search", "probes": "drawn_probes"}[name]
    kinds = [kind for kind in report.FIGURES if wanted in kind.requires]
    assert kinds
    for what, content in list(damaged_records(name, path, every=40)):
        path.write_bytes(content)
        message = ""
        try:
            found = report.read_run(run)
            for kind in kinds:
                if kind.can_draw(found):
                    _page._drawn(kind, found)
        except OptoscopeError as error:
            message = str(error)
        finally:
            path.write_bytes(before)
        assert "\n" not in message, what
